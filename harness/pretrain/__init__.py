"""Training a target from scratch: what ``mini`` ships and what ``local`` makes from a given text."""

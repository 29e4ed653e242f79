"""Training a target from scratch: what ``mini`` ships, what ``local`` makes from a text."""

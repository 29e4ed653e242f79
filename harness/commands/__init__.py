"""One function per step of the workflow; the command line parses arguments and calls these.

Split by what they import: torch and transformers take seconds, and not every step needs them.
"""

"""Kills at random moments of every stage; `python -m tests.faults --help`."""

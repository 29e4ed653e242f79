"""Measuring: timing one request, sessions that hold all arms, the journal, the machine's state."""

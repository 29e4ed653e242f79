"""transformers' own generation loops, run as reference arms outside our engine."""

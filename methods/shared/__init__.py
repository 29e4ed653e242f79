"""What several methods need: training on answers, rank traces, draft trees, timed trials."""

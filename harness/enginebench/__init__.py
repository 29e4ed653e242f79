"""The engine benchmark: what the engine itself costs, and speedups predicted from it."""

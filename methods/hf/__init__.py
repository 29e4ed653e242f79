"""transformers' own loops: yardsticks."""

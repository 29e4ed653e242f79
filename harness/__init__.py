"""The benchmark: decoder interface, engine, prompts, measurement, analysis and presentation."""

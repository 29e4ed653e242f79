"""The instrument: decoder interface, engine, prompts, measuring, analysis and presentation."""

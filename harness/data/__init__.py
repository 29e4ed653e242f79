"""Question sets, chat formatting and frozen prompts."""

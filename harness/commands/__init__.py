"""The subcommands, a module each: its arguments and what it does. ``harness/__main__.py`` names
them; ``options``, ``parts`` and ``prompts`` are what several of them share.
"""

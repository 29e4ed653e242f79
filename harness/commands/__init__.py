"""The subcommands, one module each, with its arguments and its ``run``. ``harness/__main__.py``
lists them; ``options``, ``parts`` and ``prompts`` hold what several subcommands share.
"""

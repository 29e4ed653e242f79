"""The command line, a module per stage of the workflow; what a subcommand does is elsewhere.

torch and transformers take seconds to import: each handler imports what it needs, so that the
analysis steps never do.
"""

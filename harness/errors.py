"""The one error that users see: one line that names the thing, what was found, what expected."""


class HarnessError(Exception):
    """Bad input or an impossible request; the command line prints it as one line and exits 2."""

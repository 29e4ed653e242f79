"""The one error that users see: a single line that names the thing, the value found, the expected."""


class HarnessError(Exception):
    """Bad input or an impossible request; the command line prints it as one line and exits 2."""

"""The one error that users see: one line that names the thing, what was found, what expected."""


class HarnessError(Exception):
    """Bad input or an impossible request; the command line prints it as one line and exits 2.

    Whatever the input's names hold, control characters among them, the message stays one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))

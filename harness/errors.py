"""The one error that users see: one line that names the thing, what was found, what expected."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# What torch's allocators say in errors of no kind of their own.
_REFUSED = (
    *("can't allocate memory", "not enough memory"),
    *("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"),
)


class HarnessError(Exception):
    """Bad input or an impossible request; the command line prints it as one line and exits 2.

    Whatever the input's names hold, control characters among them, the message stays one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


@contextmanager
def named(where: str) -> Iterator[None]:
    """Put ``where`` in front of what goes wrong in the block, one line whatever it is."""
    try:
        yield
    except HarnessError as error:
        error.args = HarnessError(f"{where}: {error}").args
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        line = f"{Path(frame.filename).name} line {frame.lineno}"
        kind = type(error).__name__
        raise HarnessError(f"{where}: {kind} in {line}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch's CPU allocator or a device refused memory."""
    # By name: what only analyses rows imports no torch.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    refused = isinstance(error, RuntimeError) and any(word in str(error) for word in _REFUSED)
    return refused or bool(kinds & {"MemoryError", "OutOfMemoryError"})


@contextmanager
def in_our_words(say: Callable[[Exception], str]) -> Iterator[None]:
    """Turn an error of a library into a HarnessError whose line is what ``say`` makes of it; too
    little memory stays what it is.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        raise HarnessError(say(error)) from error

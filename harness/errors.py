"""The one error that users see: a line that names the input, what was found and expected."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Texts of torch's errors on lack of memory that have no class of their own.
_REFUSED = (
    *("can't allocate memory", "not enough memory"),
    *("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"),
)


class HarnessError(Exception):
    """Bad input or an impossible request; the command line prints it as one line and exits with 2.

    Characters that are not printable are escaped, so that the message stays one line.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


@contextmanager
def named(where: str) -> Iterator[None]:
    """Turn any error in the block into a HarnessError of one line that begins with ``where``."""
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
    """The first line of an error's message, or the name of its class if it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


def out_of_memory(error: BaseException) -> bool:
    """Whether the error says that Python, torch's CPU allocator or a device lacks memory."""
    # Classes are compared by name, since code that only analyses rows must not import torch.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    refused = isinstance(error, RuntimeError) and any(word in str(error) for word in _REFUSED)
    return refused or bool(kinds & {"MemoryError", "OutOfMemoryError"})


@contextmanager
def in_our_words(say: Callable[[Exception], str]) -> Iterator[None]:
    """Turn a library's error in the block into a HarnessError with the message ``say(error)``.
    HarnessErrors and errors on lack of memory pass unchanged.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        raise HarnessError(say(error)) from error

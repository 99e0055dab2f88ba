"""Entry point of the command line: ``python -m tabtune_core`` and the installed scripts."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from tabtune_core.wording import print_what_the_encoding_lacks


@contextmanager
def loading() -> Iterator[None]:
    """Within it, Ctrl-C ends the process at once, because a package could take the interrupt for an error."""
    held = signal.getsignal(signal.SIGINT)
    if held is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
    yield
    signal.signal(signal.SIGINT, held)


def program() -> NoReturn:
    """Runs the command line."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed: the next opened file would get its number, and what is written to it
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in runs; torch reads it once, when it is loaded
    print_what_the_encoding_lacks()
    with loading():
        from tabtune_core.cli.main import program as run
    run()


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    program()

"""``python -m tabtune_core``, and the scripts: the command line."""

import os
import signal
from types import FrameType
from typing import NoReturn


def program() -> NoReturn:
    """The command line as a process of its own. Ctrl-C while it loads ends it at once, where a package could take it for an error."""
    held = signal.getsignal(signal.SIGINT)
    if held is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
    from tabtune_core.cli.main import program as run

    signal.signal(signal.SIGINT, held)
    run()


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    program()

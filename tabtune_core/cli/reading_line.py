"""How far the reading of a table is, on a terminal: a line from the third second on."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tabtune_core.data.reading.progress import Tell, in_words

QUIET_SECONDS = 2.0
TERMINAL_SECONDS, FILE_SECONDS = 0.5, 10.0
"""Between two lines: on a terminal each takes the place of the one before, in a file they add up."""


@contextmanager
def telling() -> Iterator[Tell]:
    """What is told inside is written to stderr; the line is gone afterwards. A step that tells nothing for long shows its seconds."""
    began, done = time.monotonic(), threading.Event()
    now = [""]
    terminal = sys.stderr.isatty()

    def tell(stage: str, done: int, whole: int) -> None:
        now[0] = in_words(stage, done, whole)

    def write() -> None:
        wait = QUIET_SECONDS
        while not done.wait(wait):
            line = f"{now[0]} ({time.monotonic() - began:.0f} s, Ctrl-C to cancel)"
            print(f"\r\x1b[2K{line[:79]}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
            wait = TERMINAL_SECONDS if terminal else FILE_SECONDS

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield tell
    finally:
        done.set()
        writer.join()
        if terminal:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)

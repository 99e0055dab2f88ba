"""Reads a file in a separate process, so that the server stays responsive and the person can cancel.

The process ends, and removes its files, when the pipe to it closes: reading is cancelled or the server is killed.
"""

import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.reading.progress import in_words
from tabtune_core.errors import TableError
from tabtune_core.files.whole import write_text
from tabtune_core.scratch import scratch_folder
from tabtune_core.shortage import named, shortage_of

PROGRESS = "progress.txt"
ENDED = "Reading was stopped by another program, or needed more memory than there is. Take a sample of the rows."
CRASHED = "Reading the file failed unexpectedly; the server's log has the details. Save the table as CSV again."
TELL_SECONDS = 0.2
GRACE_SECONDS = 3.0


class ReadingProcess:
    """A file that is being read into a workspace."""

    def __init__(
        self, home: Path, source: Path | bytes | str, name: str, choices: ReadingChoices, *, limit_bytes: int
    ) -> None:
        """Starts reading, with the arguments of ``add_dataset``; a text is an address. May raise ShortageError."""
        with named(folder=home), ExitStack() as held:
            (home / "datasets").mkdir(parents=True, exist_ok=True)
            self._folder = held.enter_context(scratch_folder(home / "datasets", "incoming-"))
            if isinstance(source, bytes):
                (self._folder / "given").write_bytes(source)
                source = self._folder / "given"
            command = [sys.executable, "-m", "tabtune_core.data.reading_process", str(self._folder)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # the process ended at once; its result says why
                pickle.dump((home, source, name, choices, limit_bytes), self._process.stdin)
                self._process.stdin.flush()
            self._held = held.pop_all()

    def progress(self) -> str:
        """Returns the progress as one line."""
        with suppress(OSError):
            return (self._folder / PROGRESS).read_text(encoding="utf-8") or "Starting"
        return "Starting"

    def ended(self) -> bool:
        """Whether the process has ended, so that there is a result."""
        return self._process.poll() is not None

    def result(self) -> str:
        """Waits for the process and returns the id of the table. Raises TableError, or ShortageError."""
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            text = answers.read()
        self._process.wait()
        self.cancel()
        answer = pickle.loads(text) if text else TableError(CRASHED if self._process.returncode == 1 else ENDED)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    def cancel(self) -> None:
        """Ends the process and removes what it wrote; does nothing if it has ended."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._held.close()


def main(folder: Path) -> None:
    """Runs in the process: reads the file that its input names, and ends when that input ends."""
    sys.excepthook = _end_with_error
    home, source, name, choices, limit_bytes = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_input, args=(folder,), daemon=True).start()
    from tabtune_core.data.datasets import add_dataset, add_source

    last = ("", 0.0)

    def tell(stage: str, done: int, whole: int) -> None:
        nonlocal last
        if stage != last[0] or time.monotonic() - last[1] > TELL_SECONDS:
            last = (stage, time.monotonic())
            write_text(folder / PROGRESS, in_words(stage, done, whole))

    more: dict[str, Any] = {"limit_bytes": limit_bytes, "inside": folder, "tell": tell}
    answer: str | Exception
    try:
        if isinstance(source, str):
            answer = add_source(home, source, choices, guarded=True, **more).id
        else:
            answer = add_dataset(home, source, name, choices, **more).id
    except Exception as error:
        lacking = error if isinstance(error, TableError) else shortage_of(error, folder=folder)
        if lacking is None:
            raise
        answer = lacking
    pickle.dump(answer, sys.stdout.buffer)
    sys.stdout.flush()
    os._exit(0)  # threads of DuckDB or Arrow can abort a normal exit


def _end_with_error(*error: Any) -> None:
    sys.__excepthook__(*error)
    os._exit(1)  # the thread that waits for input would abort a normal exit


def _end_with_input(folder: Path) -> None:
    sys.stdin.buffer.read()
    for _ in range(10):  # the main thread may write its progress between the look for files and the end of the folder
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
    os._exit(130)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

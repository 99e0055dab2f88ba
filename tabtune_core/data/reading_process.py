"""Reads a file in a separate process, so that the server stays responsive and the person can cancel.

In: a file and choices, as for ``add_dataset``. Out: progress, and the table in the workspace. The process ends, and
removes its files, when the pipe to it closes: reading is cancelled, the session ends or the server is killed.
"""

import json
import os
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
from tabtune_core.errors import LayoutError, ShortageError, TableError
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
        """Starts reading, with the arguments of ``add_dataset``; a text is an address in a public network.

        Raises ShortageError where the machine lacks something that reading needs, such as disk space.
        """
        with named(folder=home), ExitStack() as held:
            (home / "datasets").mkdir(parents=True, exist_ok=True)
            self._folder = held.enter_context(scratch_folder(home / "datasets", "incoming-"))
            if isinstance(source, bytes):
                (self._folder / "given").write_bytes(source)
                source = self._folder / "given"
            where = "source" if isinstance(source, Path) else "address"
            request: dict[str, Any] = {"home": str(home), where: str(source), "name": name}
            request |= {"choices": choices.to_json(), "limit_bytes": limit_bytes}
            command = [sys.executable, "-m", "tabtune_core.data.reading_process", str(self._folder)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # the process ended at once; its result says why
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
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
        """Waits for the process and returns the id of the table.

        Raises TableError (a LayoutError where other choices may help), and ShortageError where the machine lacks
        something.
        """
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            text = answers.read()
        self._process.wait()
        self.cancel()
        try:
            answer: dict[str, Any] = json.loads(text)
        except ValueError:
            answer = {"error": CRASHED if self._process.returncode == 1 else ENDED}
        if "lack" in answer:
            raise ShortageError(answer["error"], answer["lack"])
        if "error" in answer:
            raise (LayoutError if answer.get("layout") else TableError)(answer["error"])
        return str(answer["id"])

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
    """Runs in the process: reads the file that the first line of its input names, and ends when that input ends."""
    sys.excepthook = _end_with_error
    request = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_input, args=(folder,), daemon=True).start()
    from tabtune_core.data.datasets import add_dataset, add_source

    last = ("", 0.0)

    def tell(stage: str, done: int, whole: int) -> None:
        nonlocal last
        if stage != last[0] or time.monotonic() - last[1] > TELL_SECONDS:
            last = (stage, time.monotonic())
            write_text(folder / PROGRESS, in_words(stage, done, whole))

    choices = ReadingChoices.from_json(request["choices"])
    try:
        more = {"limit_bytes": request["limit_bytes"], "inside": folder, "tell": tell}
        if "address" in request:
            kept = add_source(Path(request["home"]), request["address"], choices, guarded=True, **more)
        else:
            kept = add_dataset(Path(request["home"]), Path(request["source"]), request["name"], choices, **more)
        answer: dict[str, Any] = {"id": kept.id}
    except TableError as error:
        answer = {"error": str(error), "layout": isinstance(error, LayoutError)}
    except Exception as error:
        lacking = shortage_of(error, folder=folder)
        if lacking is None:
            raise
        answer = {"error": str(lacking), "lack": lacking.lack}
    sys.stdout.write(json.dumps(answer))
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

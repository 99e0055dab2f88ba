"""A file is read in a process of its own, so that a server goes on meanwhile and a person can end it.

In: a file and choices, as for ``add_dataset``. Out: how far reading is, and the table of the workspace. The process lives as long as the
pipe to it is open: a cancelled reading, a session that is let go of and a server that is killed end it alike, and its files go with it.
"""

import errno
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

PROGRESS, RESULT = "progress.txt", "result.json"
UNSAID = 64
"""Exit status of a process that could not write its result, with the system's number of the reason added."""
ENDED = "Reading was ended from outside, or took more memory than there is. Take a sample of the rows."
CRASHED = "Reading the file failed unexpectedly; the server's log has the details. Save the table as CSV again, and add that file."
TELL_SECONDS = 0.2
GRACE_SECONDS = 3.0


class ReadingProcess:
    """One file on its way into a workspace."""

    def __init__(
        self, home: Path, source: Path | bytes | str, name: str, choices: ReadingChoices, *, owner: str = "", limit_bytes: int
    ) -> None:
        """Starts to read. ``source`` is as for ``add_dataset``, and so are the others; a text is an address, of a public network alone.

        Raises:
            ShortageError: the machine lacks what that needs, such as room on the disk.
        """
        self._held = ExitStack()
        try:
            with named(folder=home, starting=True):
                self._start(home, source, name, choices, owner, limit_bytes)
        except ShortageError:
            self._held.close()
            raise

    def _start(self, home: Path, source: Path | bytes | str, name: str, choices: ReadingChoices, owner: str, limit_bytes: int) -> None:
        datasets = home / "datasets"
        datasets.mkdir(parents=True, exist_ok=True)
        self._folder = self._held.enter_context(scratch_folder(datasets, "incoming-"))
        if isinstance(source, bytes):
            (self._folder / "given").write_bytes(source)
            source = self._folder / "given"
        where = "source" if isinstance(source, Path) else "address"
        request: dict[str, Any] = {"home": str(home), where: str(source), "name": name, "choices": choices.to_json()}
        request |= {"owner": owner, "limit_bytes": limit_bytes}
        command = [sys.executable, "-m", "tabtune_core.data.reading_process", str(self._folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended at once; its result says why
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def progress(self) -> str:
        """One line on how far it is."""
        with suppress(OSError):
            return (self._folder / PROGRESS).read_text(encoding="utf-8") or "Starting"
        return "Starting"

    def ended(self) -> bool:
        """Whether there is a result."""
        return self._process.poll() is not None

    def result(self) -> str:
        """The id of the table, once it has ended.

        Raises:
            TableError: the file cannot be read; a LayoutError where other choices may help.
            ShortageError: the disk is full, or the machine lacks something else.
        """
        self._process.wait()
        try:
            answer: dict[str, Any] = json.loads((self._folder / RESULT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            answer = {"error": CRASHED if self._process.returncode == 1 else ENDED}
            if lacking := self._lacking(self._process.returncode - UNSAID):
                answer = {"error": str(lacking), "lack": lacking.lack}
        finally:
            self.cancel()
        if "lack" in answer:
            raise ShortageError(answer["error"], answer["lack"])
        if "error" in answer:
            raise (LayoutError if answer.get("layout") else TableError)(answer["error"])
        return str(answer["id"])

    def _lacking(self, number: int) -> ShortageError | None:
        """What a process lacked that could not write its result, by the system's error number; None for other numbers."""
        return shortage_of(OSError(number, os.strerror(number), str(self._folder.parent))) if number in errno.errorcode else None

    def cancel(self) -> None:
        """Ends the process and removes what it wrote; nothing where it has ended."""
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
    """The process itself: reads what the first line of its input asks for, and ends at once where that input ends."""
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
        more = {"owner": request["owner"], "limit_bytes": request["limit_bytes"], "inside": folder, "tell": tell}
        if "address" in request:
            kept = add_source(Path(request["home"]), [request["address"]], choices, guarded=True, **more)
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
    try:
        write_text(folder / RESULT, json.dumps(answer))
    except OSError as error:
        os._exit(UNSAID + (error.errno or 0))
    os._exit(0)  # threads of the packages that read tables can abort an orderly end


def _end_with_error(*error: Any) -> None:
    sys.__excepthook__(*error)
    os._exit(1)  # the thread that waits for input would abort an orderly end


def _end_with_input(folder: Path) -> None:
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(130)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

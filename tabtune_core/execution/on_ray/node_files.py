"""A cluster node's copy of files from a workspace on another machine.

In: pieces of files. Out: files that exist whole or not at all, and pieces of the files that a run leaves. Tables stay
for later runs of the node; the next run on the machine deletes the folder of a node that has left.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

PIECE_BYTES = 8_000_000
"""Bytes sent in one call; they are held in memory on both sides."""
ARRIVING = "arriving"
"""How the name of an incomplete file or folder ends."""
Sizes = dict[str, int]
"""Bytes of files by their paths below a folder."""


def pieces(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the pieces of a file, each with its offset; an empty file has one piece."""
    for offset in range(0, file.stat().st_size or 1, PIECE_BYTES):
        yield offset, piece(file, offset)


def piece(file: Path, offset: int) -> bytes:
    """Reads at most PIECE_BYTES of a file from an offset; empty at its end."""
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(PIECE_BYTES)


def take(file: Path, offset: int, content: bytes, size: int) -> None:
    """Adds a piece to a file of ``size`` bytes; the last piece moves the file to its place."""
    arriving = file.with_name(
        f"{file.name}.{os.getpid()}.{ARRIVING}"
    )  # two runs of a node may get the same table at the same time
    file.parent.mkdir(parents=True, exist_ok=True)
    with arriving.open("ab" if offset else "wb") as stream:
        assert stream.tell() == offset, f"{file.name}: {stream.tell()} bytes are there, {offset} were expected"
        stream.write(content)
    if offset + len(content) >= size:
        arriving.replace(file)


def drop_arriving(folder: Path) -> None:
    """Removes files that will never be complete, because their node has left or their worker was killed."""
    for path in folder.glob(f"*{ARRIVING}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def sizes(folder: Path, *, without: Sequence[str] = ()) -> Sizes:
    """Returns the sizes of all files below a folder, except incomplete files and those in or named ``without``."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != f".{ARRIVING}")
    named = {path.relative_to(folder): path.stat().st_size for path in files}
    return {str(name): size for name, size in named.items() if name.parts[0] not in without}


def snapshot(states: Path, place: Path, last: str) -> Sizes:
    """Links the last state and the best states beside it into ``place``, where training does not replace them.

    Training keeps the best state that the last state names until a later last state exists. So the links belong
    together if the last state is still the same after they were made.
    """
    while True:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with suppress(FileNotFoundError):
            os.link(states / last, place / last)
            for best in states.glob("best-*.safetensors"):
                with suppress(FileNotFoundError):
                    os.link(best, place / best.name)
            if os.path.samefile(states / last, place / last):
                return sizes(place)
            continue
        return {}  # the states were deleted: the run has ended

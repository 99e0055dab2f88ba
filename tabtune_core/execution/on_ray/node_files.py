"""What a node of a cluster holds of a workspace that lies on another machine: files under names that say what is in them.

In: pieces of files. Out: files that are there whole or not at all, and pieces of those that a run leaves. Tables and weights stay for later
runs of the node; a folder of a node that has left is swept up by the next run on the machine.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

PIECE_BYTES = 8_000_000
"""That travel at once: they are held in memory on both sides."""
ARRIVING = "arriving"
"""How the name of a file or folder ends that is not there whole."""
Sizes = dict[str, int]
"""Bytes of files by their names, paths below a folder."""


def missing(folder: Path, names: Sequence[str]) -> list[str]:
    """The names for which a folder has no file."""
    return [name for name in names if not (folder / name).is_file()]


def pieces(file: Path) -> Iterator[tuple[int, bytes]]:
    """A file from its beginning, with the place of each piece; an empty file has one."""
    with file.open("rb") as stream:
        offset, content = 0, stream.read(PIECE_BYTES)
        while content or not offset:
            yield offset, content
            offset += len(content)
            if not (content := stream.read(PIECE_BYTES)):
                return


def piece(file: Path, offset: int) -> bytes:
    """What a file holds from a place on, PIECE_BYTES at most; nothing at its end."""
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(PIECE_BYTES)


def take(file: Path, offset: int, content: bytes, size: int) -> None:
    """Adds a piece to a file of ``size`` bytes, which is in its place with the last piece."""
    arriving = file.with_name(f"{file.name}.{os.getpid()}.{ARRIVING}")  # two runs of a node may be sent the same table at once
    file.parent.mkdir(parents=True, exist_ok=True)
    with arriving.open("ab" if offset else "wb") as stream:
        assert stream.tell() == offset, f"{file.name}: {stream.tell()} bytes are there, {offset} were expected"
        stream.write(content)
    if offset + len(content) >= size:
        arriving.replace(file)


def drop_arriving(folder: Path) -> None:
    """Removes, as far as it can be removed, what is not there whole and will not be: its node has left, or its worker was killed."""
    for path in folder.glob(f"*{ARRIVING}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def sizes(folder: Path, *, without: Sequence[str] = ()) -> Sizes:
    """Of all files below a folder, but for those in or called ``without`` and those that are arriving."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != f".{ARRIVING}")
    named = {path.relative_to(folder): path.stat().st_size for path in files}
    return {str(name): size for name, size in named.items() if name.parts[0] not in without}


def snapshot(states: Path, place: Path, last: str) -> Sizes:
    """Links the last state and the best states beside it to a folder, where training does not replace them.

    The best state that a last state names is kept until a later last state is there, so that both belong together where the last state is
    the same after the links were made.
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
        return {}  # taken away: the run has ended

"""Reads the zip of an adapter package or a pipeline: never unpacked to the disk, and no larger than the file allows.

In: a file. Out: the bytes of its members by name.
"""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tabtune_core.files.damaged import Damaged, check_file

LARGEST_FILE_BYTES = 2**33
FREE_BYTES, TIMES_THE_FILE = 64_000_000, 4
"""All members together may unpack to FREE_BYTES plus this many times the file: trained weights hardly compress."""
LIST_BYTES = 16_000_000
"""Largest list of members at the end of a zip; a member takes about a hundred bytes."""
CHUNK_BYTES = 1 << 16
ENCRYPTED = 0x1


class _Bounded(io.FileIO):
    """Refuses to read a long list of members: ``zipfile`` reads it at once, with the length that the file declares."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not -1 <= size <= LIST_BYTES:
            raise Damaged("its list of members is too long for a package")
        return super().read(min(size, LIST_BYTES) if size >= 0 else LIST_BYTES) or b""


class Archive:
    """An open zip whose members have been checked."""

    def __init__(self, archive: zipfile.ZipFile, room_bytes: int) -> None:
        self._archive, self._room = archive, room_bytes
        self.sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        """Declared bytes of the members by name."""

    def read(self, name: str, *, most_bytes: int) -> bytes:
        """Returns the content of a member, whose bytes are counted while they are unpacked.

        Raises:
            Damaged: no member has that name, or it is damaged, too large, or unpacks to more than the file may.
        """
        if name not in self.sizes:
            raise Damaged(f"it lacks the member {name}")
        content, most = bytearray(), min(most_bytes, self._room)
        _check_size(name, self.sizes[name], most)
        with self._archive.open(name) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                content += chunk
                _check_size(name, len(content), most)
        self._room -= len(content)
        return bytes(content)


def _check_size(name: str, size: int, most: int) -> None:
    if size > most:
        large = f"{name} unpacks to {size / 1e6:,.1f} MB or more, and {most / 1e6:,.1f} MB is the most that such a file"
        raise Damaged(f"{large} can need; if it is your own, unpack it and zip it again without compression")


@contextmanager
def open_zip(path: Path, *methods: int) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """Opens a zip whose members are all compressed by one of these methods, and yields it with its size.

    Raises:
        Damaged: it is no such zip, or a member is encrypted or occurs twice.
    """
    size = check_file(path, most_bytes=LARGEST_FILE_BYTES)
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.flag_bits & ENCRYPTED or entry.compress_type not in methods for entry in entries):
                raise Damaged("a member of it is encrypted, or compressed in a way that such a file never is")
            if len(set(archive.namelist())) < len(entries):
                raise Damaged("it holds two members with the same name")
            yield archive, size
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise Damaged(f"it is not a zip that can be opened ({error})") from error


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Opens a zip for reading; raises Damaged as ``open_zip``, or if its members unpack to more than allowed."""
    with open_zip(path, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) as (archive, size):
        room = FREE_BYTES + TIMES_THE_FILE * size
        opened = Archive(archive, room)
        _check_size("its content", sum(opened.sizes.values()), room)
        yield opened

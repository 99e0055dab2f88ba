"""Reads the zip of an adapter package or a pipeline: checked before it is unpacked, and never unpacked to disk.

In: a file. Out: the bytes of its members by name, limited by the size of the file.
"""

import io
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tabtune_core.files.damaged import Damaged, check_file
from tabtune_core.files.pickles import check_pickle

LARGEST_FILE_BYTES = 2**33
FREE_BYTES, TIMES_THE_FILE = 64_000_000, 4
"""All members together may unpack to FREE_BYTES plus this many times the file: trained weights hardly compress."""
MOST_MEMBERS = 32
"""Most members of a zip; a package has four."""
LIST_BYTES = 16_000_000
"""Largest list of members at the end of a zip; a member takes about a hundred bytes."""
CHUNK_BYTES = 1 << 16
END_BYTES, LARGE_END_BYTES = 22, 76
"""Sizes of the records at the end of a zip: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.14 to
4.3.16.
"""
LINK, ENCRYPTED = stat.S_IFLNK, 0x1


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
        self.names = tuple(archive.namelist())

    def read(self, name: str, *, most_bytes: int) -> bytes:
        """Returns the content of a member, whose bytes are counted while they are unpacked.

        Raises:
            Damaged: no member has that name, or it is damaged, larger than ``most_bytes`` or larger than the file may
            unpack to.
        """
        if name not in self.names:
            raise Damaged(f"it lacks the member {name}")
        entry, content = self._archive.getinfo(name), bytearray()
        most = min(most_bytes, self._room)
        if entry.file_size > most:
            raise Damaged(_too_large(name, entry.file_size, most))
        with self._archive.open(entry) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                content += chunk
                if len(content) > most:
                    raise Damaged(_too_large(name, len(content), most))
        self._room -= len(content)
        return bytes(content)


def _too_large(name: str, size: int, most: int) -> str:
    return (
        f"{name} unpacks to {size / 1e6:,.1f} MB or more, and {most / 1e6:,.1f} MB is the most that such a file can "
        "need; "
        f"if it is your own, unpack it and zip it again without compression"
    )


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Opens a zip for reading.

    Raises:
        Damaged: the members are not those of a package: too many, too large, encrypted, links, duplicates or named
        outside the zip.
    """
    size = check_file(path, most_bytes=LARGEST_FILE_BYTES)
    with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_MEMBERS:
            raise Damaged(f"it holds {len(entries):,} files, and a package has four")
        for entry in entries:
            _check_member(entry)
        if len({entry.filename for entry in entries}) < len(entries):
            raise Damaged("it holds two members with the same name")
        room = FREE_BYTES + TIMES_THE_FILE * size
        if sum(entry.file_size for entry in entries) > room:
            raise Damaged(_too_large("its content", sum(entry.file_size for entry in entries), room))
        yield Archive(archive, room)


def _check_member(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if (
        name.startswith(("/", "\\"))
        or ":" in name
        or ".." in name.replace("\\", "/").split("/")
        or not name.isprintable()
    ):
        raise Damaged(f"its member {name[:60]!r} has a path outside the zip")
    if stat.S_IFMT(entry.external_attr >> 16) == LINK:
        raise Damaged(f"its member {name[:60]!r} is a link to another file")
    if entry.flag_bits & ENCRYPTED:
        raise Damaged(f"its member {name[:60]!r} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Damaged(f"its member {name[:60]!r} is not compressed with deflate")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    check_file(path, most_bytes=LARGEST_FILE_BYTES)
    try:
        with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise Damaged(f"it is not a zip that can be opened ({error})") from error


def list_members(path: Path) -> list[zipfile.ZipInfo]:
    """Returns the members that a zip lists.

    Raises:
        Damaged: the file is not a zip.
    """
    with _opened(path) as archive:
        return archive.infolist()


def check_stored(path: Path) -> None:
    """Checks the zip that ``torch.save`` writes, which is not compressed and so cannot unpack to more than its size.

    Checks its pickle too. torch finds the list of members by the position that the file declares, so this must be the
    list read here.

    Raises:
        Damaged: it is not such a file.
    """
    size = check_file(path, most_bytes=LARGEST_FILE_BYTES)
    with _opened(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & ENCRYPTED for entry in entries):
            raise Damaged("it is compressed or encrypted, and torch.save does neither")
        if sum(entry.file_size for entry in entries) > size:
            raise Damaged("its members are larger than the file")
        if len({entry.filename for entry in entries}) < len(entries):
            raise Damaged("it holds two members with the same name")
        if archive.start_dir != _says_to_begin(path, size - len(archive.comment)):
            raise Damaged("its list of members is not where the file says")
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                check_pickle(archive.read(entry))
            else:
                with archive.open(entry) as member:  # which compares the member with its checksum; torch does not
                    while member.read(CHUNK_BYTES):
                        pass


def _says_to_begin(path: Path, end: int) -> int:
    """Returns the declared start of the list of members of a zip whose last record ends at ``end``; large zips declare
    it elsewhere.
    """
    with path.open("rb") as file:
        file.seek(max(0, end - END_BYTES - LARGE_END_BYTES))
        last = file.read(END_BYTES + LARGE_END_BYTES)
    begins = int.from_bytes(last[-6:-2], "little")
    return begins if begins < 2**32 - 1 else int.from_bytes(last[48:56], "little")

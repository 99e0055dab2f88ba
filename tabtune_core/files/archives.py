"""The zip around an adapter package or a pipeline: looked through before anything is unpacked, and nothing of it reaches the disk.

In: a file. Out: the bytes of its members by name, no more than a file of its size can need.
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
"""Together, members may unpack to so many bytes and so many times the file: trained numbers hardly shrink."""
MOST_MEMBERS = 32
"""A package has four."""
LIST_BYTES = 16_000_000
"""Of the list of members at the end of a zip; each one needs a hundred."""
CHUNK_BYTES = 1 << 16
END_BYTES, LARGE_END_BYTES = 22, 76
"""Of the records at the end of a zip: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.14 to 4.3.16."""
LINK, ENCRYPTED = stat.S_IFLNK, 0x1


class _Bounded(io.FileIO):
    """``zipfile`` reads the list of members in one piece, of the length that the file says; this refuses a long one."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not -1 <= size <= LIST_BYTES:
            raise Damaged("its list of members is too long for a package")
        return super().read(min(size, LIST_BYTES) if size >= 0 else LIST_BYTES) or b""


class Archive:
    """An open zip whose members have been looked through."""

    def __init__(self, archive: zipfile.ZipFile, room_bytes: int) -> None:
        self._archive, self._room = archive, room_bytes
        self.names = tuple(archive.namelist())

    def read(self, name: str, *, most_bytes: int) -> bytes:
        """The content of a member, whose bytes are counted while they come.

        Raises:
            Damaged: no member has that name, it is larger than ``most_bytes`` or than what the file may unpack to, or it is damaged.
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
        f"{name} unpacks to {size / 1e6:,.1f} MB or more, and {most / 1e6:,.1f} MB is the most that such a file can need; "
        f"if it is your own, unpack it and zip it again without compression"
    )


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """A zip for reading.

    Raises:
        Damaged: it is not a zip, or its members are not a package's: too many, encrypted, links, duplicates or named outside the zip.
    """
    size = check_file(path, most_bytes=LARGEST_FILE_BYTES)
    with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_MEMBERS:
            raise Damaged(f"it holds {len(entries):,} files, and a package has four")
        for entry in entries:
            _check_member(entry)
        if len({entry.filename for entry in entries}) < len(entries):
            raise Damaged("it holds two members of one name")
        room = FREE_BYTES + TIMES_THE_FILE * size
        if sum(entry.file_size for entry in entries) > room:
            raise Damaged(_too_large("the whole of it", sum(entry.file_size for entry in entries), room))
        yield Archive(archive, room)


def _check_member(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/") or not name.isprintable():
        raise Damaged(f"its member {name[:60]!r} would lie outside of it")
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
    """What a zip says that it holds.

    Raises:
        Damaged: it is not a zip.
    """
    with _opened(path) as archive:
        return archive.infolist()


def check_stored(path: Path) -> None:
    """Looks through the zip that ``torch.save`` writes, in which nothing is packed: it cannot unpack to more than itself.

    Its pickle is looked through too: torch finds it by where the list of members says that it begins, so it must be the list seen here.

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
            raise Damaged("it holds two members of one name")
        if archive.start_dir != _says_to_begin(path, size - len(archive.comment)):
            raise Damaged("its list of members is in another place than it says")
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                check_pickle(archive.read(entry))


def _says_to_begin(path: Path, end: int) -> int:
    """Where a zip, whose last record ends at ``end``, says that its list of members begins; a large one says it in another record."""
    with path.open("rb") as file:
        file.seek(max(0, end - END_BYTES - LARGE_END_BYTES))
        last = file.read(END_BYTES + LARGE_END_BYTES)
    begins = int.from_bytes(last[-6:-2], "little")
    return begins if begins < 2**32 - 1 else int.from_bytes(last[48:56], "little")

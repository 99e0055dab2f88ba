"""The workspace's database: opens it, with one connection per thread. Its tables are described in schema.sql."""

import fcntl
import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from tabtune_core.errors import MovedError, ShortageError, StoreError
from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import check_fields
from tabtune_core.machine import network_file_system
from tabtune_core.shortage import named, shortage_of

FORMAT = 1
"""Format of a workspace, stored in the database as ``user_version``; a new file has 0."""
Row = TypeVar("Row")
TIMEOUT_SECONDS = 30
"""How long a writer waits for its turn."""
ELSEWHERE = "Choose another folder with --home or TABTUNE_HOME"
DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""SQLite's codes for a damaged file; the first also if a letter of a column's name is damaged."""


class _Connection(sqlite3.Connection):
    """A thread's connection, closed when it is dropped: Python 3.13 and later warn about one that is not closed."""

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it could not be opened
            self.close()


class Database:
    """The database of one workspace; safe for several threads and processes, but not across a fork.

    A new workspace is made, unless it is said to be an ``existing`` one, as by a process that another program starts.

    Raises:
        StoreError: the folder or its database cannot be opened, or was written by another version.
        MovedError: there is no database of an ``existing`` workspace. Every method raises it once another file, or
            none, is at the database's path: what is written to the opened one would be lost.
        ShortageError: a shortage that may pass. Every method raises it if the machine lacks something.
    """

    def __init__(self, home: Path, *, existing: bool = False) -> None:
        self.home = Path(home).absolute()
        self._local = threading.local()
        self._opened = self._present()
        """Device and inode of the database; None until it exists."""
        if existing and not self._opened:
            raise MovedError(self.home)
        try:
            self._open()
        except (OSError, sqlite3.Error, ShortageError) as error:
            lacking, start = shortage_of(error, folder=self.home), f"The workspace {self.home} cannot be opened"
            if lacking is not None and lacking.passes:
                raise ShortageError(f"{start}. {lacking}", lacking.lack) from error
            raise StoreError(f"{start}: {str(lacking or error).rstrip('.')}. {ELSEWHERE}.") from error

    def _open(self) -> None:
        if not self._opened:
            self.home.mkdir(parents=True, exist_ok=True)
        refuse_network(self.home)
        with (self.home / "runs.opening").open("w") as opening:
            fcntl.flock(opening, fcntl.LOCK_EX)  # SQLite does not wait for other processes when it changes to WAL
            held = self._read("PRAGMA user_version")[0][0]
            self._opened = self._present()
            self._begin(held)

    def _begin(self, held: int) -> None:
        """Makes the tables of a new database; refuses one of another format than FORMAT."""
        tables = bool(self._read("SELECT 1 FROM sqlite_master LIMIT 1"))
        if held != FORMAT and (held or tables):
            other = f"was made by another version of LoRA Lab (format {held}, not {FORMAT})"
            raise StoreError(f"The workspace {self.home} {other}. {ELSEWHERE}, and train again there.")
        if not tables and any(self.home.glob("runs/*")):
            lost = f"The workspace's database {self.home / 'runs.sqlite'} is missing or empty"
            way_out = "Put an earlier copy of the database there, or move that folder away."
            raise StoreError(f"{lost}, but {self.home / 'runs'} holds files of runs. {way_out}")
        try:
            with self._lacks_named():
                self._connection.execute("PRAGMA auto_vacuum = FULL")  # gives the space of deleted rows back
                self._connection.execute("PRAGMA journal_mode = WAL")
                # always written, so that a read-only database is noticed here; before the tables, so that an opening
                # that was killed is completed by the next
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")
                self._connection.executescript(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
        except ShortageError as error:
            if error.lack != "room" or held != FORMAT:
                raise  # with a full disk a workspace can still be read, and deleting runs makes room

    def is_in_place(self) -> bool:
        """Whether the opened database is still the one in the workspace, not moved, deleted or replaced."""
        return self._opened == self._present()

    def check_in_place(self) -> None:
        """Raises MovedError unless the database ``is_in_place``."""
        if self._opened and not self.is_in_place():
            raise MovedError(self.home)

    def _present(self) -> tuple[int, int] | None:
        try:
            there = os.stat(f"{self.home}/runs.sqlite")
        except OSError:
            return None
        return there.st_dev, there.st_ino

    @property
    def _connection(self) -> sqlite3.Connection:
        """This thread's own connection; it is closed with the thread, or with this object."""
        self.check_in_place()
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self.home / "runs.sqlite",
                timeout=TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # another thread may close it
                factory=_Connection,
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
        return connection

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lacks_named():
            return self._connection.execute(sql, values).fetchall()

    def _write(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Executes a statement and returns the number of changed rows."""
        with self._lacks_named():
            return self._connection.execute(sql, values).rowcount

    def _row(self, kind: Literal["run", "sweep", "job"], row_id: str) -> sqlite3.Row:
        """Returns the row of a run, a sweep or a job; raises StoreError if there is none."""
        more = ", sweep IN (SELECT sweep FROM searches) AS searched" if kind == "run" else ""
        rows = self._read(f"SELECT *{more} FROM {kind}s WHERE id = ?", (row_id,))
        if not rows:
            raise StoreError(f"There is no {kind} {row_id!r} in {self.home}; it may have been deleted.")
        return rows[0]

    @contextmanager
    def _lacks_named(self) -> Iterator[None]:
        try:
            with named("The workspace's database could not be read or written", self.home):
                yield
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter: a column's name is not UTF-8
            # without a code: a text is not UTF-8
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in DAMAGED:
                raise
            raise StoreError(
                f"The workspace's database {self.home / 'runs.sqlite'} is damaged ({error}). Tables and files of runs "
                "are still there. End all programs that use it, remove runs.sqlite-wal and runs.sqlite-shm beside it, "
                "and put an earlier copy of runs.sqlite in its place, or what 'sqlite3 runs.sqlite .recover' saves."
            ) from error

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Runs all statements inside, or changes nothing."""
        with self._lacks_named():
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # on a full disk SQLite has already rolled back
                    connection.execute("ROLLBACK")
                raise

    def settle(self) -> None:
        """Moves the write-ahead log into runs.sqlite, so that a copy of this file alone is whole; best effort."""
        with suppress(sqlite3.Error, StoreError, ShortageError):
            self._read("PRAGMA wal_checkpoint(TRUNCATE)")


def refuse_network(home: Path) -> None:
    """Refuses a network file system: SQLite's write-ahead log needs shared memory and locks (sqlite.org/wal.html)."""
    if mount := network_file_system(home):
        kind, place = mount
        raise StoreError(
            f"The workspace {home} lies on a network file system ({kind}, mounted at {place}), where its database "
            "would be damaged. Choose a folder on a disk of this machine with --home or TABTUNE_HOME."
        )


def only(**wanted: str | None) -> tuple[str, tuple[str, ...]]:
    """Returns an SQL condition on columns and its values, written so that an index serves it; None means any value.

    >>> only(sweep="0a", status=None), only(sweep=None)
    (('sweep = ?', ('0a',)), ('TRUE', ()))
    """
    named = {name: value for name, value in wanted.items() if value is not None}
    return " AND ".join(f"{name} = ?" for name in named) or "TRUE", tuple(named.values())


def check_row(row: Row) -> Row:
    """Returns the row unchanged if its fields are valid: SQLite accepts any value in a column.

    Raises Damaged if a field has the wrong type, the process id is below 0, or the id is no name of a folder.
    """
    check_fields(row)
    if not is_folder_name(getattr(row, "id", "a")):
        raise Damaged("id is not a folder name")
    if (getattr(row, "pid", None) or 0) < 0:  # a signal to it would end other processes
        raise Damaged("pid is not a process id")
    return row


def is_folder_name(row_id: object) -> bool:
    """Whether a row's id is a valid folder name; an id that another program wrote might lead out of the workspace.

    >>> is_folder_name(new_id()), is_folder_name("../.."), is_folder_name("")
    (True, False, False)
    """
    return isinstance(row_id, str) and re.fullmatch(r"[\w-]+", row_id) is not None


def new_id() -> str:
    """Returns 12 random hexadecimal digits."""
    return secrets.token_hex(6)

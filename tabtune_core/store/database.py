"""The workspace's database: opening it, and one connection a thread. Its tables are described in schema.sql."""

import fcntl
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tabtune_core.errors import StoreError

FORMAT = 2
"""Of a workspace, kept in the database as ``user_version``: 0 until this was written down. This version opens its own and earlier ones.
Whoever changes what a table or a file of a workspace means adds one, and a step in ``_migrate``."""
ADDED = {
    "runs": {
        "note": "TEXT NOT NULL DEFAULT ''",
        "archived": "INTEGER NOT NULL DEFAULT 0",
        "slot": "TEXT NOT NULL DEFAULT ''",
        "identity": "TEXT",
        "resumptions": "INTEGER NOT NULL DEFAULT 0",
    },
    "jobs": {"identity": "TEXT"},
}
"""Columns that tables of workspaces of earlier formats may lack: ``identity`` and ``resumptions`` since format 2, the others since 1."""
REMOVED = ("process_started",)
"""Columns that they may have: a process was told by the clock up to format 1."""


class Database:
    """One workspace's; safe from several threads and processes, but not across a fork.

    Raises:
        StoreError: when the folder or its database cannot be opened, or was written by a later version.
    """

    def __init__(self, home: Path) -> None:
        self.home = Path(home).absolute()
        self._local = threading.local()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with (self.home / "runs.opening").open("w") as opening:
                fcntl.flock(opening, fcntl.LOCK_EX)  # SQLite does not wait its turn for the change to WAL
                self._migrate(self._read("PRAGMA user_version")[0][0])
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"The workspace {self.home} cannot be opened: {error}. Choose another folder with TABTUNE_HOME.") from error

    def _migrate(self, held: int) -> None:
        """Makes a workspace of format ``held``, or an empty one, one of FORMAT."""
        if held > FORMAT:
            raise StoreError(
                f"The workspace {self.home} is of format {held}; this version of LoRA Lab knows formats up to {FORMAT}. "
                "Open it with the version that wrote it, or choose another folder with TABTUNE_HOME."
            )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
        with self._together():
            for table, columns in ADDED.items():
                there = {row["name"] for row in self._read(f"PRAGMA table_info({table})")}
                for name in columns.keys() - there:
                    self._write(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")
                for name in there.intersection(REMOVED):
                    self._write(f"ALTER TABLE {table} DROP COLUMN {name}")
            self._write(f"PRAGMA user_version = {FORMAT}")  # also where it is that already: a database that cannot be written says so here

    @property
    def _connection(self) -> sqlite3.Connection:
        """This thread's own connection; it closes with the thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.home / "runs.sqlite", timeout=30, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._local.connection = connection
        return connection

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        return self._connection.execute(sql, values).fetchall()

    def _write(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Rows that were changed."""
        return self._connection.execute(sql, values).rowcount

    @contextmanager
    def _together(self) -> Iterator[None]:
        """All statements inside, or none."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def new_id() -> str:
    """12 hexadecimal digits."""
    return secrets.token_hex(6)

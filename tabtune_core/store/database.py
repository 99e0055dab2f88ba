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

ADDED = {"note": "TEXT NOT NULL DEFAULT ''", "archived": "INTEGER NOT NULL DEFAULT 0", "slot": "TEXT NOT NULL DEFAULT ''"}
"""Columns of ``runs`` that workspaces of an earlier version lack."""


class Database:
    """One workspace's; safe from several threads and processes, but not across a fork.

    Raises:
        StoreError: when the folder or its database cannot be opened.
    """

    def __init__(self, home: Path) -> None:
        self.home = Path(home).absolute()
        self._local = threading.local()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            with (self.home / "runs.opening").open("w") as opening:
                fcntl.flock(opening, fcntl.LOCK_EX)  # SQLite does not wait its turn for the change to WAL
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.executescript(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
                held = {row["name"] for row in self._read("PRAGMA table_info(runs)")}
                for name in ADDED.keys() - held:
                    self._write(f"ALTER TABLE runs ADD COLUMN {name} {ADDED[name]}")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"The workspace {self.home} cannot be opened: {error}. Choose another folder with TABTUNE_HOME.") from error

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

"""Makes the test helpers in this folder importable, and two processes of tests good neighbours on two cores."""

import os
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True)
def chance():
    """The same for a test wherever it runs: which tests ran before it in its process depends on the processes."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


LEFT_OPEN: list[str] = []


class Watched(sqlite3.Connection):
    """One that is dropped before it was closed is written down, as Python warns of it from 3.13 on."""

    def __init__(self, database, *given, **more):
        super().__init__(database, *given, **more)
        self.path = str(database)

    def __del__(self):
        try:
            self.total_changes  # noqa: B018 - raises where it is closed
        except sqlite3.ProgrammingError:
            return
        LEFT_OPEN.append(self.path)
        self.close()


real_connect = sqlite3.connect
sqlite3.connect = lambda *given, **more: real_connect(*given, **{"factory": Watched, **more})


@pytest.fixture(autouse=True)
def databases_are_closed():
    """A test, and what it calls, leaves no database to the garbage collector."""
    yield
    left = LEFT_OPEN[:]
    LEFT_OPEN.clear()
    assert left == []

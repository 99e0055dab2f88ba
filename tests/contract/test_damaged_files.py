"""Whatever the damage to a file, its reader says in one line what is wrong, quickly and in little memory.

``tests/damaging`` damages the files; ``TABTUNE_DAMAGED_FILES=5000`` tries that many of each kind instead of some
dozens.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from damaging import program
from damaging.program import look

PROGRAM = Path(__file__).parents[1] / "damaging" / "program.py"
KINDS = (
    "adapter",
    "pipeline",
    "plain adapter",
    "TabICL weights",
    "TabDPT weights",
    "Mitra weights",
    "Mitra config",
    "settings",
)
COUNT = int(os.environ.get("TABTUNE_DAMAGED_FILES", "40"))


@pytest.fixture(scope="module")
def tried():
    """The program's findings by kind, from one process in which nothing else takes memory."""
    pytest.importorskip("autogluon.tabular", reason="Mitra needs AutoGluon")
    done = subprocess.run([sys.executable, PROGRAM, "--count", str(COUNT)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "CODE IN A FILE WAS RUN" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_either_opens_or_is_refused_in_one_sentence(tried, kind):
    assert tried.keys() == set(KINDS)
    assert tried[kind]["files"] == COUNT
    assert tried[kind]["refused"] > COUNT / 3, "the damage is real"
    assert tried[kind]["found"] == []


def raises(path):
    return [][path.stat().st_size]


def takes_memory(path):
    bytearray(b"x" * 300_000_000)


def has_no_end(path):
    while True:
        pass


def tells_a_story(path):
    raise ValueError("one line\nand another")


@pytest.mark.parametrize(
    ("opened", "seconds", "found"),
    [
        (raises, 30, "IndexError"),
        (takes_memory, 30, "took"),
        (tells_a_story, 30, "no sentence in one line"),
        (has_no_end, 1, "not done after"),
    ],
)
def test_a_reader_that_breaks_the_promise_is_detected(tmp_path, monkeypatch, opened, seconds, found):
    monkeypatch.setattr(program, "SECONDS", seconds)
    before = signal.signal(signal.SIGALRM, program.alarm)
    (tmp_path / "file").write_bytes(b"1234")
    try:
        wrong, _ = look(opened, tmp_path / "file", ValueError)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert found in wrong


def test_an_intact_file_passes(tmp_path):
    (tmp_path / "file").write_bytes(b"1234")
    assert look(Path.read_bytes, tmp_path / "file", ValueError) == (None, False)

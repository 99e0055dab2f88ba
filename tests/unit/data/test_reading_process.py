"""Reading in a process of its own: it ends as reading here does, and a cancelled one leaves nothing."""

import os
import time
from dataclasses import replace

import pytest
from small_disk import fill, small_disk

from tabtune_core.data.datasets import add_dataset, get_dataset
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.reading_process import ReadingProcess
from tabtune_core.errors import LayoutError, ShortageError, TableError

CSV = b"a,y\n1,k\n2,l\n3,k\n"
LIMIT = 100_000_000


def started(home, data, **more):
    return ReadingProcess(home, data, "t.csv", ReadingChoices(**more), limit_bytes=LIMIT)


def test_the_table_is_the_one_that_is_read_here(tmp_path):
    id = started(tmp_path / "there", CSV, missing_marks=("k",)).result()
    here = add_dataset(tmp_path / "here", CSV, "t.csv", ReadingChoices(missing_marks=("k",)))
    assert replace(get_dataset(tmp_path / "there", id), created=here.created) == here
    assert [folder.name for folder in (tmp_path / "there" / "datasets").iterdir()] == [id]


@pytest.mark.parametrize(("data", "kind"), [(b"\x89PNG" + bytes(100), TableError), (b"a\n1\n2\n", LayoutError)])
def test_an_error_is_the_one_that_is_raised_here(tmp_path, data, kind):
    with pytest.raises(TableError) as here:
        add_dataset(tmp_path, data, "t.csv")
    with pytest.raises(TableError) as there:
        started(tmp_path, data).result()
    assert type(there.value) is type(here.value) is kind
    assert str(there.value) == str(here.value)
    assert not list((tmp_path / "datasets").iterdir())


def slow(home):
    """Several seconds of reading: nearly as many rows as are read at most."""
    return started(home, b"a,b,y\n" + b"1,2,k\n" * 4_500_000)


def test_a_cancelled_reading_ends_and_leaves_nothing(tmp_path):
    reading = slow(tmp_path)
    while reading.progress() == "Starting":
        time.sleep(0.02)
    assert not reading.ended()
    reading.cancel()
    assert reading.ended()
    assert not list((tmp_path / "datasets").iterdir())


def test_a_reading_that_nobody_holds_ends_and_leaves_nothing(tmp_path):
    reading = slow(tmp_path)
    while reading.progress() == "Starting":
        time.sleep(0.02)
    reading._process.stdin.close()  # what the end of a server does
    assert reading._process.wait(60) == 130
    assert not list((tmp_path / "datasets").iterdir())


def test_a_reading_that_is_killed_is_said(tmp_path):
    reading = slow(tmp_path)
    reading._process.kill()
    with pytest.raises(TableError, match="stopped by another program, or needed more memory"):
        reading.result()
    assert not list((tmp_path / "datasets").iterdir())


def test_a_reading_that_fails_by_itself_is_not_blamed_on_memory(tmp_path):
    reading = ReadingProcess(tmp_path, CSV, "t.csv", ReadingChoices(), limit_bytes="none")
    with pytest.raises(TableError, match="failed unexpectedly; the server's log has the details"):
        reading.result()


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        (disk / "datasets").mkdir()
        fill(disk)
        with pytest.raises(ShortageError, match=f"The disk of {disk}.* is full"):
            started(disk, b"a,b\n" + b"1,2\n" * 100_000)
        assert list((disk / "datasets").iterdir()) == []


@pytest.mark.parametrize("left", [8_192, 200_000])
def test_what_the_process_lacked_is_raised_here(tmp_path, left):
    with small_disk(tmp_path / "disk") as disk:
        table = tmp_path / "table.csv"
        table.write_text("a,b\n" + "".join(f"{i},{i * 0.37}\n" for i in range(200_000)))
        (disk / "datasets").mkdir()
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - left)  # for folders, perhaps for what it says, and not for the table
        with pytest.raises(ShortageError, match="is full"):
            started(disk, table).result()
        assert list((disk / "datasets").iterdir()) == []

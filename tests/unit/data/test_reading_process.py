"""Reading in a separate process: the result equals reading directly, and a cancelled one leaves nothing behind."""

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


def test_the_process_returns_the_same_table_as_reading_directly(tmp_path):
    id = started(tmp_path / "there", CSV, missing_marks=("k",)).result()
    here = add_dataset(tmp_path / "here", CSV, "t.csv", ReadingChoices(missing_marks=("k",)))
    assert replace(get_dataset(tmp_path / "there", id), created=here.created) == here
    assert [folder.name for folder in (tmp_path / "there" / "datasets").iterdir()] == [id]


@pytest.mark.parametrize(("data", "kind"), [(b"\x89PNG" + bytes(100), TableError), (b"a\n1\n2\n", LayoutError)])
def test_the_process_raises_the_same_error_as_reading_directly(tmp_path, data, kind):
    with pytest.raises(TableError) as here:
        add_dataset(tmp_path, data, "t.csv")
    with pytest.raises(TableError) as there:
        started(tmp_path, data).result()
    assert type(there.value) is type(here.value) is kind
    assert str(there.value) == str(here.value)
    assert not list((tmp_path / "datasets").iterdir())


def slow(home):
    """A reading of several seconds, with nearly the largest number of rows allowed."""
    return started(home, b"a,b,y\n" + b"1,2,k\n" * 4_500_000)


def test_a_cancelled_reading_ends_and_leaves_nothing_behind(tmp_path):
    reading = slow(tmp_path)
    while reading.progress() == "Starting":
        time.sleep(0.02)
    assert not reading.ended()
    reading.cancel()
    assert reading.ended()
    assert not list((tmp_path / "datasets").iterdir())


def test_a_reading_ends_with_its_server_and_leaves_nothing_behind(tmp_path):
    reading = slow(tmp_path)
    while reading.progress() == "Starting":
        time.sleep(0.02)
    reading._process.stdin.close()  # as when the server ends
    assert reading._process.wait(60) == 130
    assert not list((tmp_path / "datasets").iterdir())


def test_a_killed_reading_is_reported(tmp_path):
    reading = slow(tmp_path)
    reading._process.kill()
    with pytest.raises(TableError, match="stopped by another program, or needed more memory"):
        reading.result()
    assert not list((tmp_path / "datasets").iterdir())


@pytest.mark.parametrize("left", [8_192, 200_000])
def test_a_shortage_in_the_process_is_raised_by_the_caller(tmp_path, left):
    with small_disk(tmp_path / "disk") as disk:
        table = tmp_path / "table.csv"
        table.write_text("a,b\n" + "".join(f"{i},{i * 0.37}\n" for i in range(200_000)))
        (disk / "datasets").mkdir()
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - left)  # room for folders, but not for the table
        with pytest.raises(ShortageError, match="is full"):
            started(disk, table).result()
        assert list((disk / "datasets").iterdir()) == []

"""A table is stored once, complete, under its own id, and is not affected by damage to another one."""

import errno
import gzip
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from tabtune_core.data.datasets import (
    SAMPLES,
    add_dataset,
    add_sample,
    damaged_datasets,
    delete_dataset,
    get_dataset,
    list_datasets,
    load_frame,
    preview,
    source_of,
)
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.data.target import propose_target
from tabtune_core.errors import TableError

SOURCE = b"when,city,y\n2025-01-31,K\xc3\xb6ln,1.5\n2025-02-28,,2.5\n2025-03-31,Rom,\n"


def test_a_table_comes_back_as_it_was_read(tmp_path):
    added = add_dataset(tmp_path, SOURCE, "../mine.csv")
    table = read_table(SOURCE)
    assert get_dataset(tmp_path, added.id) == added
    assert (added.name, added.rows, added.size_bytes) == ("../mine.csv", 3, len(SOURCE))
    for part in ("columns", "findings", "questions", "reading"):
        assert getattr(added, part) == getattr(table, part)
    pd.testing.assert_frame_equal(load_frame(tmp_path, added.id), table.frame)
    pd.testing.assert_frame_equal(preview(tmp_path, added.id, rows=2), table.frame.head(2))
    assert sorted(p.name for p in (tmp_path / "datasets" / added.id).iterdir()) == [
        "source",
        "table.json",
        "table.parquet",
    ]
    assert (tmp_path / "datasets" / added.id / "source").read_bytes() == SOURCE


def test_the_same_table_is_kept_once_whether_given_as_a_path_or_as_bytes(tmp_path):
    file = tmp_path / "given.csv"
    file.write_bytes(SOURCE)
    first = add_dataset(tmp_path, file, "first")
    assert add_dataset(tmp_path, SOURCE, "second") == first
    assert list_datasets(tmp_path) == [first]


def test_a_refused_file_leaves_nothing_behind(tmp_path):
    kept = add_dataset(tmp_path, SOURCE, "mine")
    for source in (b"", b"\x89PNG", b"a,b\n", SOURCE * 100):
        with pytest.raises(TableError):
            add_dataset(tmp_path, source, "mine", limit_bytes=1000)
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [kept.id]
    assert len(load_frame(tmp_path, kept.id)) == 3


LARGE = {
    "plain": "{0},{1},'k {0}'\n",
    "line breaks in quotes": '{0},{1},"k\n{0}"\n',
    "short and long lines": "{0},{1},k {0}\n{0},{1},l\n{0},{1}\n{0},{1},3,4,5\n",
}


LINES = 10_000


def large_file(folder, line=LARGE["plain"], *, odd="", encoding="utf-8"):
    lines = [line.format(row, row % 7) for row in range(LINES)]
    lines.insert(500, odd)
    path = folder / "large.csv"
    path.write_bytes(("n,m,word\n" + "".join(lines)).encode(encoding))
    return path


@pytest.mark.parametrize(
    ("line", "odd", "encoding"),
    [
        ("plain", "", "utf-16"),
        ("line breaks in quotes", '500,2,5" pipe\n', "utf-8"),
        ("short and long lines", '500,"2" x,3\n', "cp1252"),
    ],
)
def test_a_sample_of_a_file_over_the_limit_is_drawn_evenly_from_all_of_it(tmp_path, line, odd, encoding):
    path = large_file(tmp_path, LARGE[line], odd=odd, encoding=encoding)
    first = add_dataset(tmp_path, path, "large", ReadingChoices(rows=LINES // 10), limit_bytes=path.stat().st_size // 2)
    frame = load_frame(tmp_path, first.id)
    assert 0.09 * LINES < len(frame) < 0.11 * LINES and frame["n"].is_monotonic_increasing
    for groups in (frame["n"] // (LINES // 20), frame["n"] % 20):  # twenty equal parts
        assert chisquare(np.bincount(groups.astype(int), minlength=20)).pvalue > 1e-3
    kept = tmp_path / "datasets" / first.id
    assert sorted(path.name for path in kept.iterdir()) == ["source", "table.json", "table.parquet"]
    pd.testing.assert_frame_equal(read_table(kept / "source", replace(first.reading, rows=None)).frame, frame)


def test_a_sample_is_no_larger_than_the_limit_and_the_same_each_time(tmp_path):
    path = large_file(tmp_path)
    limit, choices = path.stat().st_size // 2, ReadingChoices(rows=3 * LINES // 4)
    dataset, again = (add_dataset(tmp_path / home, path, "large", choices, limit_bytes=limit) for home in "ab")
    assert 0.7 * limit < dataset.size_bytes <= limit and dataset.id == again.id


@pytest.mark.parametrize(("packed", "rows", "message"), [(True, 100, "from plain text"), (False, None, "with --rows")])
def test_a_file_over_the_limit_is_refused_with_a_way_out_unless_sampled(tmp_path, packed, rows, message):
    path = large_file(tmp_path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(TableError, match=message):
        add_dataset(tmp_path, path, "large", ReadingChoices(rows=rows), limit_bytes=path.stat().st_size // 2)


def test_a_changed_letter_or_bit_of_a_description_is_refused_or_means_the_same(tmp_path):
    added = add_dataset(tmp_path, SOURCE, "mine.csv")
    file = tmp_path / "datasets" / added.id / "table.json"
    whole, seen, rng = file.read_bytes(), Counter(), np.random.default_rng(0)
    for place in range(len(whole)):
        bit, letter = 1 << int(rng.integers(8)), int(rng.choice(list(b'aX0 ",.')))
        for byte in {whole[place] ^ bit, letter} - {whole[place]}:
            file.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            try:
                seen[get_dataset(tmp_path, added.id) == added] += 1
            except TableError:
                seen["refused"] += 1
    assert not seen[False]
    assert seen["refused"] > len(whole)


@pytest.mark.parametrize("left", [SOURCE[:-9], SOURCE.replace(b"1.5", b"1.6"), b"", None])
def test_a_stored_file_that_was_changed_is_not_read_again(tmp_path, left):
    added = add_dataset(tmp_path, SOURCE, "mine.csv")
    file = source_of(tmp_path, added.id)
    file.unlink() if left is None else file.write_bytes(left)
    with pytest.raises(TableError, match=f"The file of the table 'mine.csv', {file}, is damaged or gone"):
        source_of(tmp_path, added.id)
    assert len(load_frame(tmp_path, added.id)) == 3


def test_an_unknown_id_never_reaches_a_file(tmp_path):
    kept = add_dataset(tmp_path, SOURCE, "mine")
    for ask, identity in product([get_dataset, load_frame, preview, delete_dataset], ["..", "", "../../etc", "0" * 64]):
        with pytest.raises(TableError, match="holds no dataset"):
            ask(tmp_path, identity)
    assert list_datasets(tmp_path) == [kept]


@pytest.mark.parametrize(
    ("name", "target"),
    [("breast_cancer", "diagnosis"), ("wine", "cultivar"), ("iris", "species"), ("diabetes", "progression")],
)
def test_each_sample_table_has_its_label_proposed(tmp_path, name, target):
    added = add_sample(tmp_path, name)
    table = read_table(tmp_path / "datasets" / added.id / "source")
    assert propose_target(table).column == target
    assert [finding for finding in added.findings if finding.severity == "error"] == []
    assert name in SAMPLES


def test_an_unreadable_table_is_named_and_does_not_hide_the_others(tmp_path, monkeypatch):
    first, second = (add_dataset(tmp_path, f"a,y\n1,{y}\n2,no\n".encode() * 20, f"{y}.csv") for y in ("yes", "maybe"))
    real = Path.read_text

    def refuse(self, *given, **more):
        if self.parent.name == first.id:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, *given, **more)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert [table.id for table in list_datasets(tmp_path)] == [second.id]
    (why,) = damaged_datasets(tmp_path).values()
    assert "cannot be read. This user may not open or write to" in why
    assert "delete it" not in why

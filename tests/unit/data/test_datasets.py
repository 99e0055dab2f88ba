"""A table is kept once, whole, under an id of our own, and nothing that happens to another one harms it."""

import pandas as pd
import pytest

from tabtune_core.data.datasets import add_dataset, add_sample, delete_dataset, get_dataset, list_datasets, load_frame, preview
from tabtune_core.data.samples import SAMPLES
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.data.target import propose_target
from tabtune_core.errors import TableError

SOURCE = b"when,city,y\n2025-01-31,K\xc3\xb6ln,1.5\n2025-02-28,,2.5\n2025-03-31,Rom,\n"


def test_a_table_comes_back_as_it_was_read(tmp_path):
    added = add_dataset(tmp_path, SOURCE, "../mine.csv")
    table = read_table(SOURCE)
    assert get_dataset(tmp_path, added.id) == added
    assert (added.name, added.rows, added.size_bytes) == ("../mine.csv", 3, len(SOURCE))
    assert (added.columns, added.findings, added.questions, added.reading) == (
        table.columns,
        table.findings,
        table.questions,
        table.reading,
    )
    pd.testing.assert_frame_equal(load_frame(tmp_path, added.id), table.frame)
    pd.testing.assert_frame_equal(preview(tmp_path, added.id, rows=2), table.frame.head(2))
    assert sorted(path.name for path in (tmp_path / "datasets" / added.id).iterdir()) == ["source", "table.json", "table.parquet"]
    assert (tmp_path / "datasets" / added.id / "source").read_bytes() == SOURCE


def test_the_same_table_is_kept_once_whether_given_as_a_path_or_as_bytes(tmp_path):
    file = tmp_path / "given.csv"
    file.write_bytes(SOURCE)
    first = add_dataset(tmp_path, file, "first")
    assert add_dataset(tmp_path, SOURCE, "second") == first
    assert list_datasets(tmp_path) == [first]


def test_the_same_bytes_read_another_way_are_another_table(tmp_path):
    first = add_dataset(tmp_path, SOURCE, "mine")
    second = add_dataset(tmp_path, SOURCE, "mine", ReadingChoices(kinds=(("y", "category"),)))
    assert [dataset.id for dataset in list_datasets(tmp_path)] == [second.id, first.id]


@pytest.mark.parametrize("source", [b"", b"\x89PNG", b"a,b\n", SOURCE * 100])
def test_a_file_that_is_refused_leaves_nothing_and_harms_nothing(tmp_path, source):
    kept = add_dataset(tmp_path, SOURCE, "mine")
    with pytest.raises(TableError):
        add_dataset(tmp_path, source, "mine", limit_bytes=1000)
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [kept.id]
    assert len(load_frame(tmp_path, kept.id)) == 3


def large_file(folder, line="{0},{1},'k {0}'\n", *, encoding="utf-8"):
    path = folder / "large.csv"
    path.write_bytes(("n,m,word\n" + "".join(line.format(row, row % 7) for row in range(20_000))).encode(encoding))
    return path


@pytest.mark.parametrize(("rows", "most"), [(500, 0.1), (15_000, 0.5)])
def test_a_sample_of_a_file_over_the_limit_is_drawn_from_all_of_it(tmp_path, rows, most):
    path = large_file(tmp_path)
    size = path.stat().st_size
    read = [add_dataset(home, path, "large", ReadingChoices(rows=rows), limit_bytes=size // 2) for home in (tmp_path / "a", tmp_path / "b")]
    first, again = read
    assert first.id == again.id
    assert first.size_bytes <= size * most
    assert 0.8 * min(rows, 9_000) < first.rows < 1.2 * rows
    numbers = load_frame(tmp_path / "a", first.id)["n"]
    assert numbers.is_monotonic_increasing
    assert abs(numbers.mean() - 10_000) < 1_500
    assert first.findings[0].code == "thinned"
    assert first.findings[0].message.startswith(f"The file has {size:,} bytes, more than the {size // 2:,} that are read: one line in ")
    assert sorted(path.name for path in (tmp_path / "a" / "datasets" / first.id).iterdir()) == ["source", "table.json", "table.parquet"]


def test_lines_within_quotes_are_drawn_together(tmp_path):
    path = large_file(tmp_path, line='{0},{1},"k\n{0}"\n')
    dataset = add_dataset(tmp_path, path, "large", ReadingChoices(rows=5_000), limit_bytes=path.stat().st_size // 2)
    frame = load_frame(tmp_path, dataset.id)
    assert not {"ragged-lines", "short-lines", "open-quote"} & {finding.code for finding in dataset.findings}
    assert (frame["word"] == "k\n" + frame["n"].astype(int).astype(str)).all()


@pytest.mark.parametrize(
    ("encoding", "rows", "message"),
    [("utf-16", 100, "drawn only of plain text in lines"), ("utf-8", None, "with --rows N")],
)
def test_a_file_over_the_limit_that_is_not_sampled_is_refused_with_a_way_out(tmp_path, encoding, rows, message):
    path = large_file(tmp_path, encoding=encoding)
    with pytest.raises(TableError, match=message):
        add_dataset(tmp_path, path, "large", ReadingChoices(rows=rows), limit_bytes=path.stat().st_size // 2)


def test_a_path_over_the_limit_is_refused_before_it_is_copied_whole(tmp_path):
    file = tmp_path / "big.csv"
    file.write_bytes(SOURCE * 100)
    with pytest.raises(TableError, match="limit is 1,000"):
        add_dataset(tmp_path, file, "big", limit_bytes=1000)


def test_a_deleted_table_is_gone_and_the_others_stay(tmp_path):
    first = add_dataset(tmp_path, SOURCE, "first")
    second = add_dataset(tmp_path, SOURCE + b"2025-04-30,Rom,4\n", "second")
    delete_dataset(tmp_path, first.id)
    assert list_datasets(tmp_path) == [second]
    with pytest.raises(TableError, match="holds no dataset"):
        load_frame(tmp_path, first.id)


@pytest.mark.parametrize("ask", [get_dataset, load_frame, preview, delete_dataset])
@pytest.mark.parametrize("identity", ["..", "", "../../etc", "0" * 64])
def test_an_id_that_is_not_ours_reaches_no_file(tmp_path, ask, identity):
    kept = add_dataset(tmp_path, SOURCE, "mine")
    with pytest.raises(TableError, match="holds no dataset"):
        ask(tmp_path, identity)
    assert list_datasets(tmp_path) == [kept]


def test_a_workspace_without_tables_lists_none(tmp_path):
    assert list_datasets(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "target"), [("breast_cancer", "diagnosis"), ("wine", "cultivar"), ("iris", "species"), ("diabetes", "progression")]
)
def test_a_sample_is_a_table_whose_label_is_proposed(tmp_path, name, target):
    added = add_sample(tmp_path, name)
    table = read_table(tmp_path / "datasets" / added.id / "source")
    assert propose_target(table).column == target
    assert [finding for finding in added.findings if finding.severity == "error"] == []
    assert name in SAMPLES


def test_an_unknown_sample_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(TableError, match="breast_cancer, wine, iris, diabetes"):
        add_sample(tmp_path, "titanic")


@pytest.mark.parametrize("name", ["a?b", "a\\b", "a[b]*{c}#%20;:'\"", "ä ö\n"])
def test_a_workspace_may_be_called_anything(tmp_path, name):
    assert add_dataset(tmp_path / name, b"a,b\n1,x\n2,y\n", "t.csv").rows == 2

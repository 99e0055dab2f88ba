"""An unreadable row, table, event or adapter is named with its reason, and everything else works."""

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
import seeding
from made_run import made_run
from page_steps import go, texts

from dashboard import queries
from tabtune_core.cli.main import main
from tabtune_core.data.datasets import add_dataset, list_datasets, load_frame
from tabtune_core.errors import StoreError, TableError
from tabtune_core.events import RunPlanned
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_folder import LOG, PREDICTIONS_FILE
from tabtune_core.store.runs import RunStore

BREAKS = {
    "runs": [
        ("an unknown setting", "settings", lambda text: text.replace('"rank"', '"width"')),
        ("settings that are no JSON", "settings", lambda text: text[:-1]),
        ("a result without its scores", "result", lambda text: json.dumps({"outcome": "finished"})),
        ("a result with a text", "result", lambda text: text.replace('"best_step": 60', '"best_step": "many"')),
        ("a state of another version", "status", lambda text: "paused"),
        ("a beginning of words", "created", lambda text: "yesterday"),
        ("a note of bytes", "note", lambda text: b"\xff\x00"),
    ],
    "events": [
        ("a plan without its rows", "payload", lambda text: json.dumps({"device": "cpu"})),
        ("events that are no JSON", "payload", lambda text: "{"),
        ("events whose numbers are words", "payload", lambda text: text.replace("0.", '"x').replace(",", '",')),
        ("events of an unknown kind", "kind", lambda text: "Sung"),
        ("events of bytes", "payload", lambda text: b"\xff\x00"),
        ("events of no time", "time", lambda text: "yesterday"),
    ],
    "jobs": [
        ("jobs of no time", "created", lambda text: "yesterday"),
        ("jobs of bytes", "arguments", lambda text: b"\xff\x00"),
        ("jobs about nothing", "arguments", lambda text: "{}"),
    ],
}
"""Ways to break a row of each table: name, column and new value."""


@pytest.mark.parametrize("page", ["data", "new_run", "guide"])
def test_a_page_says_that_the_workspace_was_moved_and_stores_nothing_there(app, home, store, page):
    go(app, page)
    store.home.rename(f"{home}-moved")
    for _ in range(2):
        app.run()
        assert "was moved, deleted or replaced" in texts(app.error)
    with pytest.raises(StoreError, match="was moved"):
        queries.keep_sample("iris")
    assert not home.exists()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with an ended sweep and a job for each of its last runs."""
    store = RunStore(tmp_path_factory.mktemp("made"))
    seeding.finished_sweep(store, ranks=tuple(range(1, 13)))
    for run in store.runs()[-len(BREAKS["jobs"]) :]:
        store.add_job("rank_curve", {"run": run.id})
    return store.home


@pytest.fixture
def store(home, made):
    shutil.copytree(made, home, dirs_exist_ok=True)
    return RunStore(home)


@pytest.fixture
def ended(store):
    return store.runs()


def change(home, table, what, column, how, about):
    where = f"{'run' if table == 'events' else 'id'} = '{about}'"
    with closing(sqlite3.connect(home / "runs.sqlite")) as database, database:
        for place, text in database.execute(f"SELECT rowid, {column} FROM {table} WHERE {where}").fetchall():
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (how(text), place))


@pytest.mark.parametrize("table", BREAKS)
def test_every_page_opens_despite_an_unreadable_row(app, store, ended, table, capsys):
    whole, *others = ended
    broken = list(zip(BREAKS[table], store.jobs() if table == "jobs" else reversed(others), strict=False))
    for how, one in broken:
        change(store.home, table, *how, one.id)
    pages = {"runs": [("live", {}), ("leaderboard", {})], "jobs": [("compare", {})]}
    for name, query in pages.get(table, [("leaderboard", {}), *(("live", {"run": run.id}) for _, run in broken)]):
        go(app, name, **query)
        assert not app.exception, (name, app.exception[0].value)
        assert any("cannot be read" in box.label for box in app.expander) == (table == "runs")
    assert main(["leaderboard", "--home", str(store.home)]) == 0
    told = capsys.readouterr()
    named = [what for (what, *_), one in broken if table != "jobs" and f"{one.name} cannot be read" in told.err]
    assert named == ([what for what, *_ in BREAKS["runs"]] if table == "runs" else [])
    assert whole.name in told.out


def test_a_damaged_database_is_named_on_pages_and_the_command_line(app, store, ended, capsys):
    file = store.home / "runs.sqlite"
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    for name in ("live", "leaderboard"):
        go(app, name)
        assert not app.exception, (name, app.exception[0].value)
        assert "is damaged" in texts(app.error)
    assert main(["leaderboard", "--home", str(store.home)]) == 2
    assert f"{file} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "content"), [("table.json", b"{"), ("table.parquet", b"PAR"), ("table.parquet", None)]
)
def test_a_damaged_table_does_not_affect_the_others(app, store, ended, file, content):
    other = add_dataset(store.home, b"a,b\n" + b"1,x\n2,y\n" * 30, "other.csv")
    broken = next(table for table in list_datasets(store.home) if table.id != other.id)
    path = store.home / "datasets" / broken.id / file
    path.unlink() if content is None else path.write_bytes(content)
    app.run()
    app.session_state["next_table"] = broken.id
    app.run()
    assert not app.exception
    assert "damaged" in texts(app.error) + texts(app.markdown) + texts(app.caption)
    for name in ("new_run", "try_it", "data"):
        app.switch_page(f"views/{name}/page.py").run()
        assert not app.exception, (name, app.exception[0].value)


def test_a_changed_byte_never_yields_other_values(tmp_path):
    store = RunStore(tmp_path)
    run = store.run(made_run(store))
    store.append(run.id, RunPlanned("cpu", 1, 90, 18, 18, 90, 5, 2, ("drop it", "keep it"), 100, 4, (), {}))
    table = tmp_path / "datasets" / run.settings.dataset / "table.parquet"
    saved = store.run_dir(run.id) / PREDICTIONS_FILE

    def frame():
        return load_frame(tmp_path, run.settings.dataset).to_json()

    def predicted():
        found = read_predictions(store, run.id, "test")
        return "damaged" if found is None else str((found.predicted, found.y_N, found.rows_N, found.units_N))

    for file, look in ((table, frame), (saved, predicted)):
        whole, seen = file.read_bytes(), Counter()
        expected, before_names = look(), len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        for place in range(4, before_names, 41):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            try:
                seen[look()] += 1
            except TableError as error:
                seen["damaged"] += str(file) in str(error)
        assert seen.keys() - {expected} == {"damaged"}
        assert seen["damaged"] > before_names / 41 / 2
        file.write_bytes(whole)
    saved.write_bytes(whole.replace(b"unit", b"unis"))  # the names have no checksum
    assert predicted() == "damaged"


def test_damaged_files_of_a_run_are_named_and_every_page_opens(app, store, ended, capsys):
    for folder in map(store.run_dir, [run.id for run in ended if run.settings.strategy == "peft"]):
        (folder / PREDICTIONS_FILE).write_bytes(b"PAR1")
        (folder / LOG).unlink()
        (folder / LOG).mkdir()
    broken = folder.name
    app.session_state[f"log_{broken}"] = True  # opened by a press
    for name in ("try_it", "adapters", "live"):
        go(app, name, run=broken)
        assert not app.exception, (name, app.exception[0].value)
    assert "cannot be read: Is a directory." in texts(app.code)
    assert main(["leaderboard", "--home", str(store.home)]) == 0
    assert "predictions of its rows are missing" in capsys.readouterr().out

"""One row, table, event or adapter that cannot be read closes nothing: it is named with its reason, and the rest works."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
import seeding
from page_steps import button, go, texts

from tabtune_core.cli.main import main
from tabtune_core.data.datasets import add_dataset, list_datasets
from tabtune_core.errors import StoreError
from tabtune_core.execution.identity import identity_of
from tabtune_core.store.runs import RunStore

PAGES = ("data", "new_run", "live", "leaderboard", "compare", "adapters", "try_it", "guide")
READERS = {"runs": ("live", "leaderboard"), "events": ("live", "leaderboard"), "jobs": ("compare",)}
"""The pages that draw the rows of a table of the database."""
BREAKS = {
    "an unknown setting": ("runs", "settings", lambda text: text.replace('"rank"', '"width"')),
    "settings that are no JSON": ("runs", "settings", lambda text: text[:-1]),
    "settings nested without end": ("runs", "settings", lambda text: "[" * 5000),
    "a result without its scores": ("runs", "result", lambda text: json.dumps({"outcome": "finished"})),
    "a result with a text for a number": ("runs", "result", lambda text: text.replace('"best_step": 60', '"best_step": "many"')),
    "a result whose scores are a list": ("runs", "result", lambda text: text.replace('"validation": {', '"validation": [3], "was": {')),
    "a state of another version": ("runs", "status", lambda text: "paused"),
    "a plan without its rows": ("events", "payload", lambda text: json.dumps({"device": "cpu"})),
    "events that are no JSON": ("events", "payload", lambda text: "{"),
    "events that are numbers": ("events", "payload", lambda text: "7"),
    "events whose numbers are words": ("events", "payload", lambda text: text.replace("0.", '"x').replace(",", '",')),
    "events of an unknown kind": ("events", "kind", lambda text: "Sung"),
    "a beginning of words": ("runs", "created", lambda text: "yesterday"),
    "a beginning that no clock shows": ("runs", "created", lambda text: -1e308),
    "a note of bytes": ("runs", "note", lambda text: b"\xff\x00"),
    "a process of a number that none has": ("runs", "pid", lambda text: 2**62),
    "events of bytes": ("events", "payload", lambda text: b"\xff\x00"),
    "events of no time": ("events", "time", lambda text: "yesterday"),
    "events of a kind of bytes": ("events", "kind", lambda text: b"\xff\x00"),
    "jobs of no time": ("jobs", "created", lambda text: "yesterday"),
    "jobs of bytes": ("jobs", "arguments", lambda text: b"\xff\x00"),
    "jobs that are no JSON": ("jobs", "arguments", lambda text: "{"),
    "jobs about nothing": ("jobs", "arguments", lambda text: "{}"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with a sweep of three ranks and the baselines that has ended, and a job."""
    store = RunStore(tmp_path_factory.mktemp("made"))
    seeding.finished_sweep(store)
    store.add_job("rank_curve", {"run": store.runs()[-1].id})
    return store.home


@pytest.fixture
def store(home, made):
    """The test's own copy of it."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    return RunStore(home)


@pytest.fixture
def ended(store):
    """Its runs."""
    return store.runs()


def change(home, table, column, how, run):
    """Changes one cell of each row about a run."""
    key = {"runs": "id", "events": "run"}.get(table)
    where = f" WHERE {key} = '{run}'" if key else ""
    with closing(sqlite3.connect(home / "runs.sqlite")) as database, database:
        for place, text in database.execute(f"SELECT rowid, {column} FROM {table}{where}").fetchall():
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (how(text), place))


@pytest.mark.parametrize("what", BREAKS)
def test_what_cannot_be_read_closes_no_page(app, store, ended, what, capsys):
    table, column, how = BREAKS[what]
    runs = ended
    change(store.home, table, column, how, runs[-1].id)
    for name in READERS[table]:
        go(app, name)
        assert not app.exception, (name, app.exception[0].value)
        named = [box.label for box in app.expander if "cannot be read" in box.label]
        assert bool(named) == (table == "runs" and name in ("live", "leaderboard"))
    assert main(["leaderboard", "--home", str(store.home)]) == 0
    told = capsys.readouterr()
    assert (f"{runs[-1].name} cannot be read" in told.err) == (table == "runs")
    assert runs[0].name in told.out


def test_an_unreadable_run_is_named_kept_and_can_be_deleted(app, store, ended):
    runs = ended
    change(store.home, *BREAKS["an unknown setting"], runs[-1].id)
    with pytest.raises(StoreError, match=r"cannot be read: its settings: Unknown setting 'lora\.width'"):
        store.run(runs[-1].id)
    store.rename(runs[0].id, "other")
    with closing(sqlite3.connect(store.home / "runs.sqlite")) as database, database:
        assert '"width"' in database.execute("SELECT settings FROM runs WHERE id = ?", (runs[-1].id,)).fetchone()[0]
    go(app, "leaderboard")
    assert "Unknown setting" in texts(app.markdown)
    for job in store.jobs():
        store.cancel_job(job.id)
    button(app, "Delete permanently").click().run()
    assert not app.exception
    assert store.unreadable() == []
    assert len(store.runs()) == len(runs) - 1


def test_a_sweep_of_which_no_row_can_be_read_has_its_reasons(app, store, ended, capsys):
    runs = ended
    for run in runs:
        change(store.home, *BREAKS["an unknown setting"], run.id)
    for name in PAGES:
        go(app, name)
        assert not app.exception, (name, app.exception[0].value)
    assert main(["leaderboard", "--home", str(store.home)]) == 2
    assert "No run of the sweep" in capsys.readouterr().err


def test_fields_that_a_result_has_beyond_those_of_this_version_are_kept_and_shown(app, store, ended):
    runs = ended
    change(store.home, "runs", "result", lambda text: text[:-1] + ', "carbon_grams": 12}', runs[0].id)
    go(app, "live", run=runs[0].id)
    assert not app.exception
    assert "carbon" in texts(app.caption) and "12" in texts(app.caption)
    store.rename(runs[0].id, "other")
    with closing(sqlite3.connect(store.home / "runs.sqlite")) as database, database:
        assert "carbon_grams" in database.execute("SELECT result FROM runs WHERE id = ?", (runs[0].id,)).fetchone()[0]


def test_a_waiting_run_that_cannot_be_read_is_ended_and_not_the_queue(tmp_path):
    store = RunStore(tmp_path)
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    change(store.home, *BREAKS["settings that are no JSON"], runs[0].id)
    assert store.claim(1, identity_of(1), runs[0].id) is None
    assert "cannot be read" in store._row(runs[0].id)["error"]
    assert store.claim(1, identity_of(1)).id == runs[1].id


@pytest.mark.parametrize(
    ("file", "content"),
    [("table.json", b"{"), ("table.json", b"[]"), ("table.json", None), ("table.parquet", b"PAR1"), ("table.parquet", None)],
)
def test_a_damaged_table_leaves_the_others(app, store, ended, file, content):
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


def test_a_damaged_adapter_from_elsewhere_is_listed_with_its_reason(app, store, ended):
    folder = store.home / "adapters" / ("0" * 64)
    folder.mkdir(parents=True)
    (folder / "about.json").write_text('{"id": 3}')
    for name in ("adapters", "try_it"):
        go(app, name)
        assert not app.exception
    go(app, "adapters")
    assert any("1 adapter cannot be read" in box.label for box in app.expander)

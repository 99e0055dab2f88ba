"""Every page without a browser: empty, with a finished and a running sweep, with many runs, and with odd addresses."""

import subprocess
import sys

import numpy as np
import seeding
from page_steps import go, texts

PAGES = ("data", "new_run", "live", "leaderboard", "compare", "adapters", "try_it")
ALL_PAGES = (*PAGES, "guide")


def test_each_empty_page_says_what_to_do_next(app):
    for name in PAGES:
        go(app, name, run="../x", job="../x", adapter="<script>")
        assert not app.exception, name
        assert app.title, name
        assert len(app.button) >= 1, name


def test_each_page_shows_a_finished_run_a_running_sweep_and_two_hundred_runs(app, store):
    seeding.finished_sweep(store, ranks=(2,))
    for name in ALL_PAGES:
        go(app, name)
        assert not app.exception, name
        assert not app.error, name
    newest = seeding.many_runs(store, sweeps=4, per_sweep=50, looks=5, steps=20)[0]
    seeding.going_sweep(store)
    for name in ALL_PAGES:
        go(app, name)
        assert not app.exception, name
        go(app, name, sweep=newest, board="all")
        assert not app.exception, name
    go(app, "live").selectbox(key="chosen_sweep").set_value(newest).run()
    assert len(app.dataframe[0].value) == 50


NAMES = [
    *("sweep", "run", "runs", "only", "job", "adapter", "adapters", "table", "target", "way", "split", "model", "view"),
    *("ranks", "dropouts", "tied", "seeds", "length", "archived", "settings", "metric", "board", "lines", "epochs"),
    *("context_rows", "views"),
]
"""Names that addresses have, or might."""
ODD = [*("", "x", "-1", "1,1", "NaN", "inf", "1e400", "9" * 99, "true", "../etc/passwd", "<script>", "é\u202e", "Rank")]


def test_an_address_may_say_anything(app, store):
    chance = np.random.default_rng(0)
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=tuple(range(1, 8))))
    for run in runs:
        seeding.start(run)
        run.end()
    known = [run.id for run in runs]
    for _ in range(30):
        name = str(chance.choice(ALL_PAGES))
        values = (ODD, known)[chance.integers(2)]
        query = {key: ",".join(chance.choice(values, chance.integers(1, 9))) for key in chance.choice(NAMES, 9, False)}
        app.query_params.clear()
        go(app, name, **query)
        assert not app.exception, (name, query)


def test_the_pages_of_a_regression_sweep_show_regression_scores(app, store):
    sweep = seeding.finished_sweep(store, task="regression", ranks=(2, 4))
    go(app, "live", sweep=sweep)
    assert {"Loss (the model's own unit)", "Best validation RMSE"} <= set(app.dataframe[0].value)
    assert app.selectbox(key="live_metric_regression").options == ["Mean absolute error", "R²"], (
        "the one that decides has its chart"
    )
    go(app, "leaderboard", board=sweep)
    assert app.selectbox(key="chosen_metric").options == ["By RMSE", "By mean absolute error", "By R²"]
    go(app, "compare", sweep=sweep)
    assert app.selectbox(key="chosen_metric").options == ["RMSE", "Mean absolute error", "R²"]
    go(app, "adapters")
    assert "Validation RMSE" in [metric.label for metric in app.metric]
    assert not app.exception


def test_only_a_verified_and_whole_adapter_is_offered(app, store):
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2, 4, 8)))
    outcomes = {2: True, 4: False, 8: None}
    for run in runs:
        seeding.start(run)
        run.end(verified=outcomes[run.settings.lora.rank] if run.settings.strategy == "peft" else None)
    for run in runs[-3:]:
        app.session_state["next_run"] = run.id  # chosen on another page
        go(app, "adapters")
        offered = outcomes[run.settings.lora.rank]
        assert not app.exception
        assert len(app.get("download_button")) == (2 if offered else 0)
        assert ("No download" in texts(app.info)) == (not offered)
        assert "load_adapter" in texts(app.code)
        (store.run_dir(run.id) / "adapter.zip").write_bytes(b"no zip")
        app.run()
        assert "is not an adapter package" in texts(app.error)
        assert not app.get("download_button")


def test_no_page_loads_torch(home):
    """Loading torch would cost every visit seconds and the server hundreds of megabytes."""
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; import seeding; from pathlib import Path;"
        "from tabtune_core.store.runs import RunStore; import dashboard.server.application, dashboard.start;"
        f"seeding.finished_sweep(RunStore(Path({str(home)!r})));"
        "app = AppTest.from_file('dashboard/app.py', default_timeout=30).run();"
        f"[app.switch_page(f'views/{{name}}/page.py').run() for name in {PAGES!r}];"
        "assert not app.exception; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    root = seeding.__file__.rsplit("/tests/", 1)[0]
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root}/tests", "TABTUNE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr[-2000:]

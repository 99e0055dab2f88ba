"""The demo: its recorded runs open and predict as before, every page has content, and nothing is left afterwards."""

import re
import sys

import pytest
from page_steps import go, texts

from dashboard.demo.workspace import PACKED, RANKS, about, demo_workspace
from dashboard.server import application as served
from dashboard.start import main
from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.settings import REFERENCES
from tabtune_core.store.runs import RunStore, default_home

MOST_BYTES = 3_500_000


@pytest.fixture(scope="module")
def demo():
    with demo_workspace() as home:
        yield home


@pytest.fixture
def shown(demo, monkeypatch, app):
    monkeypatch.setenv("TABTUNE_HOME", str(demo))
    return app


def test_the_demo_has_a_finished_sweep_that_lora_wins_and_a_queued_one(demo):
    store, facts = RunStore(demo), about(demo)
    finished, going = store.runs(facts["finished"]), store.runs(facts["going"])
    assert [sweep.id for sweep in store.sweeps()] == [facts["finished"], facts["going"]]
    assert {run.status for run in finished} == {"finished", "outrun"}
    assert {run.settings.strategy for run in finished} == {"inference", "base-ft", "peft", *REFERENCES}
    assert [run.settings.lora.rank for run in going if run.status == "queued"] == list(RANKS)
    assert {run.status for run in going if run.status != "queued"} == {"finished"}
    assert not store.unreadable()
    board = leaderboard(finished, "log_loss")
    assert "On the test rows it improves log-loss by" in " ".join(recommend(store, board, "log_loss").sentences)
    assert store.jobs("rank_curve", status="finished")
    assert PACKED.stat().st_size < MOST_BYTES


def all_texts(app):
    """Every text of a page, including the cells of its tables."""
    elements = (*app.markdown, *app.caption, *app.metric, *app.info, *app.warning)
    helps = " ".join(one.help for one in (*app.markdown, *app.caption) if one.help)
    return f"{texts(elements)} {helps} {' '.join(table.value.to_csv() for table in app.dataframe)}"


def test_every_page_has_content_names_the_measuring_machine_and_formats_numbers_alike(shown, demo):
    counts = {"training": set(), "validation": set(), "test": set()}
    for page in ("data", "new_run", "live", "leaderboard", "compare", "adapters", "try_it"):
        go(shown, page)
        assert not shown.exception, page
        assert not [info.value for info in shown.info], page
        (tooltip,) = [caption.help for caption in shown.caption if caption.value.startswith("**Demo**")]
        assert all(about(demo)[fact] in tooltip for fact in ("date", "machine", "commit"))
        whole = all_texts(shown)
        assert not re.findall(r".{20}\d[eE]\+\d.{9}", whole), page
        for part, numbers in counts.items():
            numbers |= set(re.findall(rf"([\d,]+) {part}(?: rows|, | and)", whole))
    assert counts == {"training": {"1,800"}, "validation": {"600"}, "test": {"600"}}
    [tried] = shown.multiselect
    assert RunStore(demo).run(tried.value[0]).settings.lora.rank == 2  # Try it opens with what was confirmed


def test_the_demo_is_deleted_when_the_dashboard_ends_and_the_users_workspace_is_untouched(tmp_path, monkeypatch):
    homes = []

    class Interrupted:
        def run(self, config):
            homes.append(default_home())
            assert about(default_home())["finished"]
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setenv("TABTUNE_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("TABTUNE_WORKER", "")
    monkeypatch.setattr(served, "application", lambda access: Interrupted())
    monkeypatch.setattr("dashboard.start.signal.signal", lambda number, handler: None)
    monkeypatch.setattr("dashboard.start.ensure_worker", lambda home, **more: None)
    with pytest.raises(SystemExit):
        main(["--demo", "--no-browser"])
    (home,) = homes
    assert not (tmp_path / "mine").exists()
    assert not home.exists()

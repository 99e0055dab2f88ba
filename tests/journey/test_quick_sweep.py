"""A quick sweep on the pages and the command line: asked for with a toggle, and its time and memory are said to be those of the pack."""

import dataclasses
import math

import pytest
import seeding

from tabtune_core.cli.main import main
from tabtune_core.data.datasets import add_sample
from tabtune_core.events import to_json

SAID = "Measured for the pack of 3 runs that trained together: 41.2 s of training and 310.0 MB over one model, loading the others included."


def texts(elements):
    return " ".join(str(element.value) for element in elements).replace("\\", "")


@pytest.fixture
def packed(store):
    """A finished sweep of which the LoRA runs trained together."""
    sweep = seeding.finished_sweep(store)
    for run in store.runs(sweep):
        if run.settings.strategy == "peft":
            pack = {"runs": 3, "train_seconds": 41.2, "growth_memory_bytes": 310_000_000}
            result = dataclasses.replace(
                run.result, train_seconds=math.nan, peak_memory_bytes=None, growth_memory_bytes=None, extra={"pack": pack}
            )
            store._write("UPDATE runs SET result = ? WHERE id = ?", (to_json(result)[1], run.id))
    return sweep


def test_the_leaderboard_has_no_time_and_memory_of_their_own_and_names_those_of_the_pack(app, store, packed):
    app.run()
    app.switch_page("views/leaderboard/page.py").run()
    assert not app.exception
    shown = app.dataframe[0].value.set_index("Run")
    lora = shown[shown["Rank"].notna()]
    assert lora[["Memory of training (MB)", "Training (s)"]].isna().all(axis=None)
    assert lora["Time and memory of the pack"].unique().tolist() == [SAID]
    assert shown.loc["Full fine-tuning", "Training (s)"] > 0
    assert SAID in texts(app.caption)


@pytest.mark.parametrize("tab", ["Trade-offs", "Rank", "Context rows", "Runs side by side"])
def test_compare_says_so_and_opens_every_tab(app, packed, tab):
    app.run()
    app.query_params["view"] = tab
    app.switch_page("views/compare/page.py").run()
    assert not app.exception
    assert SAID in texts(app.caption)


def test_live_opens(app, packed):
    app.run()
    app.switch_page("views/live/page.py").run()
    assert not app.exception


def test_the_command_line_says_so(store, packed, capsys):
    assert main(["leaderboard", "--home", str(store.home)]) == 0
    printed = capsys.readouterr().out
    assert SAID in printed
    assert not [line for line in printed.splitlines() if "LoRA r=2" in line and "310.0" in line]


def test_the_toggle_queues_lora_runs_that_train_together_and_their_time_is_not_known(app, store):
    add_sample(store.home, "breast_cancer")
    app.run()
    app.switch_page("views/new_run/page.py").run()
    alone = texts(app.markdown)
    app.toggle(key="quick_sweep").set_value(True).run()
    assert "Training time: not known for a quick sweep, whose runs train together." in texts(app.caption)
    assert texts(app.markdown) != alone, "the memory of three runs at once"
    next(found for found in app.button if found.label.startswith("Launch")).click().run()
    assert not app.exception
    assert {run.settings.strategy for run in store.runs() if run.settings.quick_sweep} == {"peft"}
    assert sum(run.settings.quick_sweep for run in store.runs()) == 3


def test_what_cannot_train_in_one_pass_is_said_in_the_form(app, store):
    add_sample(store.home, "breast_cancer")
    app.run()
    app.switch_page("views/new_run/page.py").run()
    app.toggle(key="quick_sweep").set_value(True).run()
    app.toggle(key="use_dora").set_value(True).run()
    assert "quick_sweep cannot train runs in one pass with lora.use_dora; leave one of the two out." in texts(app.error)

"""Which runs of a sweep are set apart, and with which reason."""

import dataclasses

import pytest

from tabtune_core.analysis.set_apart import ARCHIVED, REPEATED, apart
from tabtune_core.events import RunFinished
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.run_row import Run

RESULT = RunFinished("finished", 1, 9, False, {}, {}, {}, {}, 1.0, 0.1, 1, 1, "resident", 4, 100, 9)
STEPS, ROWS = {"train": TrainSettings(steps=5)}, "its held-out rows differ from those of the others"


def run_of(number, usual=None, **given):
    """A run with other settings, ``status``, ``archived``, or fields of its ``result``."""
    given = {"lora": LoraSettings(rank=2 + number), **(usual or {}), **given}
    status, archived = given.pop("status", "finished"), given.pop("archived", False)
    result = dataclasses.replace(RESULT, **given.pop("result", {}))
    own = RunSettings(dataset="d", target="y", **given)
    nothing = dict.fromkeys(("heartbeat", "pid", "identity", "wish", "error", "retried_as"))
    times = {"created": float(number), "started": 0.0, "ended": 1.0}
    more = {"status": status, "settings": own, "result": result, "archived": archived}
    return Run(id=str(number), sweep="s", name="", **times, **nothing, **more)


def why(*odd, **usual):
    """The reasons of runs that follow three plain ones, which have none."""
    reasons = apart([run_of(number, usual, **one) for number, one in enumerate([{}, {}, {}, *odd])])
    assert [reasons[str(number)] for number in range(3)] == [""] * 3
    return [reasons[str(3 + number)] for number in range(len(odd))]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"status": "stopped"}, "stopped before its end"),
        ({"status": "diverged"}, "diverged"),
        ({"archived": True, **STEPS}, ARCHIVED),
        (STEPS, "trained for 5 steps, the others for 30 epochs"),
        ({"train": TrainSettings(context_rows=64)}, "trained with 64 context rows, the others with 512"),
        ({"validation_share": 0.3}, ROWS),
        ({"split_seed": 3}, ROWS),
        ({"result": {"rows_sha256": "b"}}, ROWS),
        ({"result": {"context_rows": 256}}, "predicted with 256 context rows, the others with 341"),
        ({"seed": 1, "result": {"context_rows": 300, "rows_sha256": "c"}}, ""),
        ({"strategy": "inference", "lora": LoraSettings()}, ""),
        ({"strategy": "base-ft", "lora": LoraSettings()}, ""),
        ({"result": {"stopped_early": True, "steps_done": 3}}, ""),
        ({"lora": LoraSettings(rank=2)}, REPEATED),
    ],
)
def test_a_run_unlike_most_of_its_sweep_is_set_apart(odd, reason):
    odd = {**odd, "result": {"context_rows": 341, "rows_sha256": "a"} | odd.get("result", {})}
    assert why(odd, result={"context_rows": 341, "rows_sha256": "a"}) == [reason]


def test_archived_and_incomplete_runs_do_not_define_what_is_usual():
    assert why(*[{**STEPS, "archived": True}] * 4, *[{**STEPS, "status": "stopped"}] * 4, STEPS)[-1].startswith(
        "trained"
    )

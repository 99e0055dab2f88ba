"""Which runs of a sweep are set apart, and with which reason."""

import dataclasses

import pytest

from tabtune_core.analysis.set_apart import apart
from tabtune_core.events import RunFinished
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.run_row import Run

RESULT = RunFinished("finished", 1, 9, False, {}, {}, {}, {}, 1.0, 0.1, 1, 1, "resident", 4, 100, 9)


def runs(*told, **usual):
    """Three plain runs of one sweep, then one for each of ``told``: settings, status, the result's context rows and row
    hash, archived.
    """
    plain = [{"lora": LoraSettings(rank=rank)} for rank in (2, 4, 8)]
    made = []
    for number, one in enumerate([*plain, *told]):
        given = {**usual, **one}
        status, shown, rows, archived = (
            given.pop(name, default)
            for name, default in (("status", "finished"), ("shown", None), ("rows", None), ("archived", False))
        )
        settings, result = (
            RunSettings(dataset="d", target="y", **given),
            dataclasses.replace(RESULT, rows_sha256=rows, context_rows=shown),
        )
        made.append(
            Run(
                str(number),
                "s",
                "",
                status,
                settings,
                0.0,
                0.0,
                1.0,
                None,
                None,
                None,
                None,
                None,
                result,
                None,
                archived=archived,
            )
        )
    return made


def why(*told, **usual):
    found = apart(runs(*told, **usual))
    assert [found[str(number)] for number in range(3)] == [""] * 3
    return [found[str(3 + number)] for number in range(len(told))]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"status": "stopped"}, "stopped before its end"),
        ({"status": "diverged"}, "diverged"),
        ({"train": TrainSettings(steps=5)}, "trained for 5 steps, the others for 30 epochs"),
        ({"train": TrainSettings(context_rows=64)}, "trained with 64 context rows, the others with 512"),
        ({"validation_share": 0.3}, "its held-out rows differ from those of the others"),
        ({"strategy": "inference"}, ""),
        ({"strategy": "base-ft"}, ""),
        ({"lora": LoraSettings(rank=16), "seed": 5}, ""),
    ],
)
def test_a_run_unlike_most_of_its_sweep_is_set_apart(told, reason):
    assert why(told) == [reason]


def test_a_run_that_stopped_early_is_complete():
    early = dataclasses.replace(RESULT, stopped_early=True, steps_done=3)
    found = [*runs(), dataclasses.replace(runs()[0], id="early", result=early)]
    assert apart(found)["early"] == ""


def test_measured_rows_take_precedence_over_requested_rows():
    told = why({"shown": 256}, {"rows": "b"}, {"seed": 1, "shown": 300, "rows": "c"}, shown=341, rows="a")
    assert told == [
        "predicted with 256 context rows, the others with 341",
        "its held-out rows differ from those of the others",
        "",
    ]


def test_archived_and_incomplete_runs_do_not_define_what_is_usual():
    other = {"train": TrainSettings(steps=5)}
    away = [{**other, "archived": True}] * 3 + [{**other, "status": "stopped"}] * 3
    assert why(*away)[:3] == ["trained for 5 steps, the others for 30 epochs"] * 3

"""A killed and resumed training ends like an uninterrupted one: the same scores, curves and weights, bit by bit."""

import copy
import dataclasses
import shutil
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_checkpoint

from tabtune_core.data.arrays import Labels, prepare_arrays
from tabtune_core.errors import Waiting
from tabtune_core.events import Evaluated, MemorySampled, Note, Resumed, StepDone
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.runs import RunStore
from tabtune_core.training import last_state
from tabtune_core.training.fit import fit
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.session import Environment, Plan

TRAIN = TrainSettings(steps=12, eval_every=4, patience=9, batch_size=16, context_rows=32, learning_rate=3e-3)
"""Evaluated and saved after steps 4, 8 and 12."""
CPU = torch.device("cpu")
MEASURED = (
    *("train_seconds", "predict_seconds", "train_wall_seconds", "shared_saved_seconds"),
    *("peak_memory_bytes", "growth_memory_bytes", "predict_growth_memory_bytes", "shared_made", "shared_reused"),
)
"""Fields of a result that may depend on an interruption."""


class Killed(BaseException):
    """Stands in for a signal: nothing catches it or cleans up."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny.ckpt"))


@pytest.fixture
def killed_at(monkeypatch):
    """Sets when the next trainings are killed: after a step, or while the state of a step is written."""

    def say(step=None, writing=None):
        monkeypatch.undo()
        if writing is not None:
            real = last_state.write_state

            def torn(file, tensors, facts):
                if facts["result"]["steps_done"] == writing:
                    file.with_name(f"{file.name}.partial").write_bytes(b"half a st")
                    raise Killed
                return real(file, tensors, facts)

            monkeypatch.setattr(last_state, "write_state", torn)
        say.step = step

    say()
    return say


def rows(count=80):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 4))
    return pd.DataFrame(x, columns=list("abcd")), pd.Series(np.where(x[:, 0] + x[:, 1] > 0, "yes", "no"))


class Trained:
    """One run in a store; its processes are simulated within this one."""

    def __init__(self, folder, checkpoint, *, train=TRAIN, lora=None, device=CPU, **more):
        self.folder, self.store, self.device = folder, RunStore(folder), device
        lora = lora or LoraSettings(rank=2)
        self.settings = RunSettings(
            dataset="d", target="y", model="tabicl-v2", checkpoint=checkpoint, train=train, lora=lora, **more
        )
        _, (self.id,) = self.store.add_sweep([self.settings])

    def go(self, killed_at=None, *, seed=99, rungs=(), paused=False):
        """Runs one process of the run; returns None if it was killed or pauses."""
        torch.manual_seed(seed)  # the random state of the process itself must not matter
        frame, y_N = rows()
        labels = Labels.of(y_N, "classification")

        def emit(event):
            self.store.append(self.id, event)
            if isinstance(event, StepDone) and killed_at and event.step == killed_at.step:
                raise Killed

        states = self.store.run_dir(self.id) / "states"
        with MemoryMeter(self.device, lambda event: None if isinstance(event, MemorySampled) else emit(event)) as meter:
            where = {"folder": states, "shared": self.folder / "shared", "last_state": states / "last.pt"}
            environment = Environment(meter=meter, emit=emit, rungs=rungs, paused=paused, **where)
            try:
                self.fitted = fit(
                    Plan.of(self.settings, features=frame.shape[1], device=self.device),
                    lambda: prepare_arrays(frame, y_N, labels, self.settings, max_classes=None, withhold=True),
                    environment,
                )
            except (Killed, Waiting):
                meter.__exit__(None, None, None)
                return None
        return self.fitted

    def events(self, kind):
        return [stored.event for stored in self.store.events(self.id, [kind.__name__])]

    def ended(self):
        """Everything that must not depend on an interruption."""
        result = dataclasses.replace(self.fitted.result, resumed_steps=(), **dict.fromkeys(MEASURED, 0))
        steps = [dataclasses.replace(event, seconds=0.0) for event in self.events(StepDone)]
        looks = [
            dataclasses.replace(look, seconds=0.0) for look in self.events(Evaluated) if look.split == "validation"
        ]
        weights = {name: p.detach().clone() for name, p in self.fitted.session.model.module.state_dict().items()}
        return result, steps, looks, weights

    def equals(self, other):
        mine, its = self.ended(), other.ended()
        return mine[:3] == its[:3] and all(torch.equal(mine[3][name], its[3][name]) for name in its[3] | mine[3])


FROZEN_START = ("icl_predictor",)
KINDS = {
    "dropout": {"lora": LoraSettings(rank=2, dropout=0.3)},
    "PiSSA": {"lora": LoraSettings(rank=2, init_lora_weights="pissa")},
    "all weights": {"strategy": "base-ft", "train": dataclasses.replace(TRAIN, learning_rate=1e-4)},
    "fixed episodes, frozen stages cached": {
        "train": dataclasses.replace(TRAIN, episode_set=5),
        "lora": LoraSettings(rank=2, targets=FROZEN_START, dropout=0.2),
    },
    "SGD": {"train": dataclasses.replace(TRAIN, optimizer="sgd", learning_rate=0.05)},
    "stops early": {"train": dataclasses.replace(TRAIN, learning_rate=0.3, patience=3, steps=40)},
}


MOMENTS = {"dropout": ({"step": 5}, {"step": 8}, {"writing": 8}, {"step": 10})}
"""When a training is killed; by default after steps 5 and 10."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_ends_like_an_uninterrupted_one(kind, tmp_path, checkpoint, killed_at):
    whole = Trained(tmp_path / "whole", checkpoint, **KINDS[kind])
    whole.go(seed=1)
    resumed = Trained(tmp_path / "resumed", checkpoint, **KINDS[kind])
    for moment in MOMENTS.get(kind, ({"step": 5}, {"step": 10})):
        killed_at(**moment)
        assert resumed.go(killed_at) is None
    killed_at()
    resumed.go(seed=3)
    assert resumed.equals(whole)
    assert resumed.fitted.result.resumed_steps == (4, 8)


def test_a_training_that_pauses_at_rungs_ends_like_an_undisturbed_one(tmp_path, checkpoint, killed_at):
    whole = Trained(tmp_path / "whole", checkpoint, **KINDS["dropout"])
    whole.go(seed=1)
    paused = Trained(tmp_path / "paused", checkpoint, **KINDS["dropout"])
    assert paused.go(seed=2, rungs=(1 / 3, 2 / 3)) is None
    assert [event.step for event in paused.events(Evaluated) if event.split == "validation"] == [0, 4]
    assert paused.go(seed=3, rungs=(2 / 3,), paused=True) is None
    killed_at(step=10)
    assert paused.go(killed_at, paused=True) is None
    killed_at()
    paused.go(seed=4)
    assert paused.equals(whole)
    assert paused.fitted.result.resumed_steps == (8,)


@pytest.fixture(scope="module")
def whole_of(checkpoint, tmp_path_factory):
    @cache
    def of(seed):
        run = Trained(tmp_path_factory.mktemp("whole"), checkpoint, seed=seed)
        run.go(seed=1)
        return run

    return of


@pytest.fixture
def whole(whole_of):
    return whole_of(0)


@pytest.mark.parametrize("moment", [{"step": 4}, {"writing": 4}], ids=str)
def test_a_run_killed_before_its_first_saved_state_starts_anew(moment, tmp_path, checkpoint, killed_at, whole):
    resumed = Trained(tmp_path, checkpoint)
    killed_at(**moment)
    assert resumed.go(killed_at) is None
    killed_at()
    resumed.store.begin_again(resumed.id)
    resumed.go(seed=3)
    assert resumed.equals(whole)
    assert resumed.fitted.result.resumed_steps == ()


def test_a_run_killed_after_the_last_step_is_only_evaluated(tmp_path, checkpoint, whole):
    resumed = Trained(tmp_path, checkpoint)
    resumed.go()  # its states exist until its row says that it ended
    before = len(resumed.events(StepDone))
    resumed.go(seed=3)
    assert resumed.equals(whole)
    assert len(resumed.events(StepDone)) == before
    assert resumed.fitted.result.resumed_steps == (12,)


@pytest.fixture(scope="module")
def killed(checkpoint, tmp_path_factory):
    run = Trained(tmp_path_factory.mktemp("killed"), checkpoint)
    assert run.go(SimpleNamespace(step=5)) is None
    return run


@pytest.fixture
def interrupted(killed, tmp_path):
    """A run killed after step 5, with the state of step 4."""
    run = copy.copy(killed)
    run.folder = shutil.copytree(killed.folder, tmp_path / "run")
    run.store = RunStore(run.folder)
    return run, run.store.run_dir(run.id) / "states" / "last.pt"


def cut_short(run, state):
    state.write_bytes(state.read_bytes()[:-9])


def flip(run, state):
    content = bytearray(state.read_bytes())
    content[content.index(b"steps_done")] ^= 1
    state.write_bytes(content)


def lose_the_best(run, state):
    for file in state.parent.glob("best-*"):
        file.write_bytes(b"")


def ask_for_others(run, state):
    run.settings = dataclasses.replace(run.settings, seed=1)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_short, "cannot be read"),
        (flip, "last.pt is damaged"),
        (lose_the_best, "best-4.pt cannot be read"),
        (ask_for_others, "it belongs to other settings"),
    ],
)
def test_a_damaged_or_foreign_state_is_ignored_with_a_notice(damage, said, interrupted, whole_of):
    run, state = interrupted
    damage(run, state)
    run.go()
    assert run.equals(whole_of(run.settings.seed))
    assert [event.step for event in run.events(Resumed)] == [0]
    assert any(said in n.text and "starts anew" in n.text and n.severity == "warning" for n in run.events(Note))


def test_a_state_that_cannot_be_saved_does_not_end_the_run(tmp_path, checkpoint, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(last_state, "write_state", full)
    run = Trained(tmp_path, checkpoint)
    run.go()
    assert run.fitted.result.outcome == "finished"
    assert [note.text for note in run.events(Note) if "are not saved" in note.text] == [
        "The state of step 4 and later ones are not saved (No space left on device). The run goes on, but it would "
        "start anew after an interruption."
    ]


def test_the_best_state_belongs_to_the_saved_step_until_a_later_save(interrupted, killed_at):
    run, state = interrupted
    killed_at(writing=8)
    assert run.go(killed_at) is None
    held = sorted(file.name for file in state.parent.glob("*.pt"))
    assert held == ["best-0.pt", "best-4.pt", "best-8.pt", "last.pt"]
    killed_at()
    run.go()
    held = sorted(file.name for file in state.parent.glob("*.pt"))
    assert held == ["best-0.pt", "best-8.pt", "last.pt"]

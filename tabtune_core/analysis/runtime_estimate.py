"""How long a sweep will take and how much its memory grows, from the user's own earlier runs. If no run is similar, from a few steps that
were measured on this machine. Without those steps the answer is unknown: a number is never made up.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

from tabtune_core.data.splits import SplitSizes
from tabtune_core.errors import SettingError, TargetError
from tabtune_core.events import RunPlanned
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import TRAINED, RunSettings
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.training.episodes import EVALUATION_ROWS, ROWS_AT_ONCE, EpisodeSize
from tabtune_core.training.memory.estimate import Sizes, estimate_memory
from tabtune_core.wording import counted

NEAR = 2
"""Runs whose context rows, query rows, features and validation rows are each up to so many times more or fewer can be scaled from."""
LATEST_RUNS = 40
"""Of a model, from which times are taken."""
GROWS_ON_RATIO, GROWS_ON_BYTES = 1.03, 2e6
"""By which the resident memory of a run becomes larger than that of a few steps of it: the heap grows on, by a huge page and more. From 89
random runs that each had such a measurement."""
CLASSES_AT_ONCE = 10
"""More are predicted in several goes."""


def kind_of(settings: RunSettings) -> tuple[Any, ...]:
    """What makes a step another kind of work: two runs are alike in time only where all of this is the same."""
    lora, train = settings.lora, settings.train
    adapted: tuple[Any, ...] = ()
    if settings.strategy == "peft":
        adapted = (tuple(sorted(set(lora.targets))), lora.dropout > 0, lora.bias, lora.variant)
    work = (train.gradient_checkpointing, train.cuda_graph, train.amp, train.views, train.episode_set)
    return (settings.model, settings.checkpoint, settings.task, settings.strategy, adapted, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """A table that is split, and what trains on it."""

    train_rows: int
    validation_rows: int
    features: int
    classes: int
    """0 where numbers are predicted."""
    device: str
    """``cpu``, or ``cuda`` for a GPU of any kind."""

    @classmethod
    def plan(cls, split: SplitSizes, *, features: int, classes: int, on_gpu: bool) -> "TrainedOn":
        """For a table that will be split so."""
        device = "cuda" if on_gpu else "cpu"
        return cls(train_rows=split.train, validation_rows=split.validation, features=features, classes=classes, device=device)

    def size_of(self, settings: RunSettings) -> "Size":
        """Of a step, and of an evaluation on the validation rows, of which the settings may score fewer."""
        train = settings.train
        step = EpisodeSize.plan(self.train_rows, batch_size=train.batch_size, context_rows=train.context_rows)
        evaluation_context = min(self.train_rows, train.predict_context_rows or self.train_rows, EVALUATION_ROWS)
        validation = min(self.validation_rows, train.validation_rows)
        every = train.eval_every_of(
            train.steps or train.epochs * step.steps_an_epoch(self.train_rows),
            shown=step.context + step.query,
            evaluated=evaluation_context + validation,
        )
        return Size(step.context, step.query, self.features, validation, evaluation_context, every, self.classes, self.device)


@dataclass(frozen=True, slots=True)
class Size:
    """Of a training step and an evaluation on the validation rows."""

    context: int
    query: int
    features: int
    validation: int
    shown: int
    """Context rows of an evaluation."""
    eval_every: int
    """Steps between two."""
    classes: int
    device: str

    @property
    def cells(self) -> int:
        """That a step goes through."""
        return (self.context + self.query) * self.features

    def is_near(self, other: "Size") -> bool:
        """Whether seconds scale from one to the other by their cells."""
        mine, others = ((size.context, size.query, size.features, size.validation, size.shown, size.eval_every) for size in (self, other))
        near = all(max(one, two) <= NEAR * max(1, min(one, two)) for one, two in zip(mine, others, strict=True))
        return near and self.device == other.device and _rounds(self.classes) == _rounds(other.classes)


def _rounds(classes: int) -> int:
    return math.ceil(classes / CLASSES_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one finished run trained, and what memory it took."""

    kind: tuple[Any, ...]
    size: Size
    seconds_a_step: float
    """The run's own, evaluations on the validation rows included."""
    measured: bool = False
    """Whether that is of a few steps before the first run, and not of a finished run."""
    growth_ratio: float | None = None
    """Growth of memory over what is estimated for its settings and size; None where it was not measured, or for a pack of runs."""


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds, and what they come from."""

    seconds: float
    """Of training of all the runs, their own: less is spent where they share frozen layers."""
    runs: int
    """How many finished runs it was taken from."""
    measured: bool = False
    """Whether a short measurement is in it."""


def pace_of(run: Run, plan: RunPlanned) -> Pace | None:
    """Of a run with a result; None where nothing was trained, or an earlier version measured the time otherwise."""
    result = run.result
    if result is None or not result.steps_done or math.isnan(result.train_seconds):
        return None
    trained_on = TrainedOn(
        train_rows=plan.train_rows,
        validation_rows=plan.validation_rows,
        features=plan.features,
        classes=len(plan.classes),
        device="cpu" if plan.device.startswith("cpu") else "cuda",
    )
    size = trained_on.size_of(run.settings)
    ratio = _growth_ratio(run.settings, size, result.growth_memory_bytes)
    return Pace(kind_of(run.settings), size, result.train_seconds / result.steps_done, growth_ratio=ratio)


def _growth_ratio(run: RunSettings, size: Size, growth_bytes: float | None) -> float | None:
    if growth_bytes is None:
        return None
    sizes = Sizes(
        context_rows=size.context,
        query_rows=size.query,
        features=size.features,
        classes=size.classes,
        shown_rows=size.shown,
        evaluation_rows=size.shown,
        predicted_rows=min(size.validation, ROWS_AT_ONCE),
    )
    with suppress(TargetError):  # a weights file of one's own, of another architecture
        return growth_bytes / estimate_memory(run, get_card(run.model), sizes, on_gpu=size.device != "cpu").growth
    return None


def latest(runs: Iterable[Run], model: str) -> list[Run]:
    """The runs of a model that ended last with a result; enough of them to take times from."""
    finished = [run for run in runs if run.settings.model == model and run.status == "finished" and run.result]
    return sorted((run for run in finished if run.settings.strategy in TRAINED), key=lambda run: run.ended or 0)[-LATEST_RUNS:]


def read_paces(store: RunStore, run_ids: Iterable[str]) -> list[Pace]:
    """How fast these runs trained."""
    plans = {run_id: store.last(run_id, "RunPlanned") for run_id in run_ids}
    paces = [pace_of(store.run(run_id), plan.event) for run_id, plan in plans.items() if plan and isinstance(plan.event, RunPlanned)]
    return [pace for pace in paces if pace]


def known_paces(store: RunStore, model: str) -> list[Pace]:
    """Of the latest finished runs of a model, and of what was measured."""
    finished = read_paces(store, [run.id for run in latest(store.runs(), model)])
    return [*finished, *measured_paces(job.result for job in store.jobs("pace") if job.result)]


def measured_paces(results: Iterable[Mapping[str, Any]]) -> list[Pace]:
    """What jobs of the kind ``pace`` have measured; one of another version is left out."""
    paces = []
    for measured in (one for result in results for one in result.get("measured", ())):
        with suppress(SettingError, KeyError, TypeError):
            settings = RunSettings.from_dict(measured["settings"])
            names = ("train_rows", "validation_rows", "features", "classes", "device")
            trained_on = TrainedOn(**{name: measured[name] for name in names})
            size, growth = trained_on.size_of(settings), measured.get("growth_bytes")
            whole = growth if growth is None or size.device != "cpu" else GROWS_ON_RATIO * growth + GROWS_ON_BYTES
            ratio = _growth_ratio(settings, size, whole)
            paces.append(Pace(kind_of(settings), size, float(measured["seconds_a_step"]), measured=True, growth_ratio=ratio))
    return paces


def not_known(runs: Sequence[RunSettings], paces: Sequence[Pace], trained_on: TrainedOn) -> list[RunSettings]:
    """One run of each kind whose pace is not known, without the settings that do not affect it."""
    plain = {kind_of(run): run for run in reversed(runs) if run.strategy in TRAINED}
    return [run for run in plain.values() if step_seconds(run, paces, trained_on.size_of(run)) is None]


def growth_ratio(paces: Sequence[Pace], trained_on: TrainedOn, run: RunSettings) -> float | None:
    """Growth of memory over the estimated one: the median of the runs of its kind that are near in size; None without such a run."""
    near = [pace for pace in _near(run, paces, trained_on.size_of(run)) if pace.growth_ratio is not None]
    ratios = [pace.growth_ratio or 0.0 for pace in [pace for pace in near if not pace.measured] or near]
    return median(ratios) if ratios else None


def _near(run: RunSettings, paces: Sequence[Pace], size: Size) -> list[Pace]:
    kind = kind_of(run)
    return [pace for pace in paces if pace.kind == kind and pace.size.is_near(size)]


def step_seconds(run: RunSettings, paces: Sequence[Pace], size: Size) -> TimeEstimate | None:
    """Of one step: the median of the runs of its kind that are near in size, each scaled by cells; None without such a run."""
    near = _near(run, paces, size)
    finished = [pace for pace in near if not pace.measured]
    if not near:
        return None
    seconds = median(pace.seconds_a_step * size.cells / pace.size.cells for pace in finished or near)
    return TimeEstimate(seconds, len(finished), measured=not finished)


def train_seconds(runs: Sequence[RunSettings], paces: Sequence[Pace], trained_on: TrainedOn) -> TimeEstimate | None:
    """All these runs one after the other, without early stopping; None if one of them has no similar run.

    A time limit is taken for the end of a run that would take longer.
    """
    total, known = 0.0, dict[tuple[Any, ...], TimeEstimate | None]()
    for run in runs:
        if run.strategy not in TRAINED:
            continue
        kind, size = kind_of(run), trained_on.size_of(run)
        step = known.setdefault(kind, step_seconds(run, paces, size) if kind not in known else None)
        if step is None:
            return None
        steps = run.train.steps or run.train.epochs * EpisodeSize(size.context, size.query).steps_an_epoch(trained_on.train_rows)
        total += min(steps * step.seconds, max(step.seconds, run.train.time_limit or math.inf))
    steps_known = [step for step in known.values() if step]
    return TimeEstimate(total, sum(step.runs for step in steps_known), any(step.measured for step in steps_known))


def beyond_limit(runs: Sequence[RunSettings], paces: Sequence[Pace], trained_on: TrainedOn) -> str | None:
    """What to know of a time limit that is shorter than one step, where the pace of such a run is known."""
    for run in runs:
        limit = run.train.time_limit
        step = None if limit is None or run.strategy not in TRAINED else step_seconds(run, paces, trained_on.size_of(run))
        if step is not None and limit is not None and step.seconds > limit:
            return (
                f"The time limit of {limit:g} s is shorter than one step, which takes about {step.seconds:.2g} s with its share of the "
                f"evaluations ({came_from(step)}): such a run does one step and evaluates it."
            )
    return None


def came_from(estimate: TimeEstimate) -> str:
    """For example ``from 3 finished runs like these``."""
    runs = f"{counted(estimate.runs, 'finished run')} like {'these' if estimate.runs != 1 else 'this'}"
    parts = ([runs] if estimate.runs else []) + (["a measurement of a few steps on this machine"] if estimate.measured else [])
    return f"from {' and '.join(parts)}"

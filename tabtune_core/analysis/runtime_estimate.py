"""How long a sweep takes and how much its memory grows: from similar earlier runs, or a few measured steps, or unknown.

In: runs, the events of earlier ones, and the sizes of a table. Out: seconds and a ratio, with what they come from.
"""

import math
from collections import Counter
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
from tabtune_core.settings.sweep import race_of, trained_share
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.training.episodes import EVALUATION_ROWS, ROWS_AT_ONCE, EpisodeSize
from tabtune_core.training.memory.estimate import Sizes, estimate_memory
from tabtune_core.wording import counted

NEAR = 2
"""Times are scaled from one run to another if each of their sizes (see ``is_near``) differs by at most this factor."""
LATEST_RUNS = 40
"""How many of a model's latest runs times are taken from."""
GROWS_ON_RATIO, GROWS_ON_BYTES = 1.03, 2e6
"""Growth of resident memory in a whole run, relative to its first few steps, plus these bytes: from 89 random runs."""
CLASSES_AT_ONCE = 10
"""More classes are predicted in several passes."""


def kind_of(settings: RunSettings) -> tuple[Any, ...]:
    """Returns the settings that decide what a step computes: times are comparable only if they are equal."""
    lora, train = settings.lora, settings.train
    adapted: tuple[Any, ...] = ()
    if settings.strategy == "peft":
        adapted = (tuple(sorted(set(lora.targets))), lora.dropout > 0, lora.bias, lora.variant)
    work = (train.gradient_checkpointing, train.amp, train.views, train.episode_set)
    return (settings.model, settings.checkpoint, settings.task, settings.strategy, adapted, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """The sizes of a table after its split, and the device that trains on it."""

    train_rows: int
    validation_rows: int
    features: int
    classes: int
    """0 for regression."""
    device: str
    """``cpu``, or ``cuda`` for a GPU of any kind."""

    @classmethod
    def plan(cls, split: SplitSizes, *, features: int, classes: int, on_gpu: bool) -> "TrainedOn":
        """Returns the sizes for a table that will be split as ``split`` says."""
        rows, device = {"train_rows": split.train, "validation_rows": split.validation}, "cuda" if on_gpu else "cpu"
        return cls(**rows, features=features, classes=classes, device=device)

    @classmethod
    def of(cls, run: RunPlanned) -> "TrainedOn":
        """Returns the sizes and the device of a run that has begun."""
        rows = {"train_rows": run.train_rows, "validation_rows": run.validation_rows}
        device = "cpu" if run.device.startswith("cpu") else "cuda"
        return cls(**rows, features=run.features, classes=len(run.classes), device=device)

    def steps_of(self, settings: RunSettings) -> int:
        """Returns the most optimizer steps of a run."""
        train = settings.train
        step = EpisodeSize.plan(self.train_rows, batch_size=train.batch_size, context_rows=train.context_rows)
        return train.steps or train.epochs * step.steps_an_epoch(self.train_rows)

    def size_of(self, settings: RunSettings) -> "Size":
        """Returns the size of a step and of an evaluation on the validation rows, which settings may limit."""
        train = settings.train
        step = EpisodeSize.plan(self.train_rows, batch_size=train.batch_size, context_rows=train.context_rows)
        shown = min(self.train_rows, train.predict_context_rows or self.train_rows, EVALUATION_ROWS)
        validation = min(self.validation_rows, train.validation_rows)
        rows = {"shown": step.context + step.query, "evaluated": shown + validation}
        every = train.eval_every_of(self.steps_of(settings), **rows)
        return Size(step.context, step.query, self.features, validation, shown, every, self.classes, self.device)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a training step and of an evaluation on the validation rows."""

    context: int
    query: int
    features: int
    validation: int
    shown: int
    """Context rows of an evaluation."""
    eval_every: int
    """Steps between two evaluations."""
    classes: int
    device: str

    @property
    def cells(self) -> int:
        """Number of table cells that a step processes."""
        return (self.context + self.query) * self.features

    def is_near(self, other: "Size") -> bool:
        """Whether seconds can be scaled from one to the other by their cells."""
        names = ("context", "query", "features", "validation", "shown", "eval_every")
        both = [(getattr(self, name), getattr(other, name)) for name in names]
        near = all(max(pair) <= NEAR * max(1, *sorted(pair)[:1]) for pair in both)
        passes = {math.ceil(size.classes / CLASSES_AT_ONCE) for size in (self, other)}
        return near and self.device == other.device and len(passes) == 1


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one finished run trained, and what memory it took."""

    kind: tuple[Any, ...]
    size: Size
    seconds_a_step: float
    """Of this run alone, including evaluations on the validation rows."""
    measured: bool = False
    """Whether it comes from a few steps that were measured before the first run, not from a finished run."""
    growth_ratio: float | None = None
    """Measured memory growth divided by its estimate; None if it was not measured, or for a pack of runs."""


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds, and what they come from."""

    seconds: float
    """Training time of all runs, each counted alone: runs that share frozen layers take less."""
    runs: int
    """How many finished runs it was taken from."""
    measured: bool = False
    """Whether it also comes from a short measurement."""


def pace_of(run: Run, plan: RunPlanned) -> Pace | None:
    """Returns the pace of a run; None if it has no result or trained nothing."""
    result = run.result
    if result is None or not result.steps_done or math.isnan(result.train_seconds):
        return None
    size = TrainedOn.of(plan).size_of(run.settings)
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
    with suppress(TargetError):  # a checkpoint that the user supplied, of another architecture
        return growth_bytes / estimate_memory(run, get_card(run.model), sizes, on_gpu=size.device != "cpu").growth
    return None


def latest(runs: Iterable[Run], model: str) -> list[Run]:
    """Returns the last trained runs of a model that finished with a result, at most LATEST_RUNS."""
    trained = [run for run in runs if run.settings.model == model and run.settings.strategy in TRAINED]
    finished = [run for run in trained if run.status == "finished" and run.result]
    return sorted(finished, key=lambda run: run.ended or 0)[-LATEST_RUNS:]


def read_paces(store: RunStore, run_ids: Iterable[str]) -> list[Pace]:
    """Reads how fast these runs trained."""
    paces = [pace_of(store.run(run_id), plan) for run_id in run_ids if (plan := store.last_event(run_id, RunPlanned))]
    return [pace for pace in paces if pace]


def known_paces(store: RunStore, model: str) -> list[Pace]:
    """Reads the paces of the latest finished runs of a model, and those that jobs measured."""
    finished = read_paces(store, [run.id for run in latest(store.runs(), model)])
    return [*finished, *measured_paces(job.result for job in store.jobs("pace") if job.result)]


def measured_paces(results: Iterable[Mapping[str, Any]]) -> list[Pace]:
    """Reads the paces that jobs of the kind ``pace`` measured; results of another version are left out."""
    paces = []
    for measured in (one for result in results for one in result.get("measured", ())):
        with suppress(SettingError, KeyError, TypeError):
            settings = RunSettings.from_dict(measured["settings"])
            names = ("train_rows", "validation_rows", "features", "classes", "device")
            trained_on = TrainedOn(**{name: measured[name] for name in names})
            size, growth = trained_on.size_of(settings), measured.get("growth_bytes")
            whole = growth if growth is None or size.device != "cpu" else GROWS_ON_RATIO * growth + GROWS_ON_BYTES
            ratio, seconds = _growth_ratio(settings, size, whole), float(measured["seconds_a_step"])
            paces.append(Pace(kind_of(settings), size, seconds, measured=True, growth_ratio=ratio))
    return paces


def not_known(runs: Sequence[RunSettings], paces: Sequence[Pace], trained_on: TrainedOn) -> list[RunSettings]:
    """Returns the first run of each kind whose pace is not known."""
    plain = {kind_of(run): run for run in reversed(runs) if run.strategy in TRAINED}
    return [run for run in plain.values() if step_seconds(run, paces, trained_on.size_of(run)) is None]


def growth_ratio(paces: Sequence[Pace], trained_on: TrainedOn, run: RunSettings) -> float | None:
    """Measured memory growth over its estimate: the median of similar runs; None without such a run."""
    near = _near(run, [pace for pace in paces if pace.growth_ratio is not None], trained_on.size_of(run))
    return median(pace.growth_ratio or 0.0 for pace in near) if near else None


def _near(run: RunSettings, paces: Sequence[Pace], size: Size) -> list[Pace]:
    """Returns the paces of similar finished runs or, without such a run, those that were measured."""
    kind = kind_of(run)
    near = [pace for pace in paces if pace.kind == kind and pace.size.is_near(size)]
    return [pace for pace in near if not pace.measured] or near


def step_seconds(run: RunSettings, paces: Sequence[Pace], size: Size) -> TimeEstimate | None:
    """Estimates one step: the median of similar runs, each scaled by cells; None without such a run."""
    near = _near(run, paces, size)
    if not near:
        return None
    seconds, measured = median(pace.seconds_a_step * size.cells / pace.size.cells for pace in near), near[0].measured
    return TimeEstimate(seconds, 0 if measured else len(near), measured)


def train_seconds(
    runs: Sequence[RunSettings], paces: Sequence[Pace], trained_on: TrainedOn, *, halving: bool = False
) -> TimeEstimate | None:
    """Estimates these runs one after the other, each at most to its time limit; None if one has no similar run.

    With ``halving``, runs that differ only in their learning rate count with the share of steps that they train.
    """
    total, known = 0.0, dict[tuple[Any, ...], TimeEstimate]()
    rivals = Counter(map(race_of, runs)) if halving else Counter[RunSettings]()
    for run in runs:
        if run.strategy not in TRAINED:
            continue
        kind, size = kind_of(run), trained_on.size_of(run)
        step = known.get(kind) or step_seconds(run, paces, size)
        if step is None:
            return None
        known[kind] = step
        share = trained_share(rivals[race_of(run)] or 1)
        most = max(step.seconds, run.train.time_limit or math.inf)
        total += min(share * trained_on.steps_of(run) * step.seconds, most)
    return TimeEstimate(total, sum(step.runs for step in known.values()), any(step.measured for step in known.values()))


def came_from(estimate: TimeEstimate) -> str:
    """Says what an estimate comes from, for example ``from 3 finished runs like these``."""
    runs = f"{counted(estimate.runs, 'finished run')} like {'these' if estimate.runs != 1 else 'this'}"
    measured = "a measurement of a few steps on this machine"
    return f"from {' and '.join([runs] * bool(estimate.runs) + [measured] * estimate.measured)}"

"""What a run reports while it runs. In: facts from the training code. Out: rows of the store, points of a chart.

Every event is a frozen dataclass of plain values; field names give bytes and seconds, None means "could not be read".
"""

import dataclasses
import functools
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from tabtune_core.files.plain_values import check_fields, hints_of

Phase = Literal["load", "zero-shot", "train", "evaluate", "save"]
EndedBy = Literal["", "time limit"]
StopRequest = Literal["stop", "cancel"]
"""What a person asks of a running run: stop and keep the best state, or cancel and discard."""


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """The run enters a phase."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the person: what was shortened, capped, left out or given up."""

    text: str
    severity: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """What will be done, once the table is split and the model is loaded."""

    device: str
    """For example ``cuda:0 (NVIDIA H100)`` or ``cpu``."""
    steps: int
    train_rows: int
    validation_rows: int
    test_rows: int
    context_rows: int
    """Context rows of predictions."""
    query_rows: int
    features: int
    classes: tuple[str, ...]
    """Empty for regression."""
    total_parameters: int
    trainable_parameters: int
    layers: tuple[dict[str, Any], ...]
    """One entry per adapted layer: path, shape, rank, parameters, kind, target; empty without LoRA."""
    base: dict[str, Any]
    """The base model: name, source, revision, sha256."""
    train_context_rows: int | None = None
    """Context rows of a training step; None if nothing is trained."""
    evaluation_context_rows: int | None = None
    """Context rows of evaluations during training, including zero-shot's (step 0); None as above."""
    eval_every: int | None = None
    """Steps between two evaluations on the validation rows; None as above."""
    rarer: int | None = None
    """The class of two that fewer rows of the table have, of which average precision is; None without two."""

    @property
    def device_name(self) -> str:
        """The device without its number, for example ``NVIDIA H100`` or ``CPU``: costs on two are not comparable."""
        return "CPU" if self.device.startswith("cpu") else self.device.partition(" (")[2][:-1] or self.device

    @property
    def fewer_evaluation_rows(self) -> int | None:
        """``evaluation_context_rows`` if they are fewer than at prediction."""
        rows = self.evaluation_context_rows
        return rows if rows is not None and rows < self.context_rows else None


@dataclass(frozen=True, slots=True)
class StepDone:
    """One optimizer step."""

    step: int
    loss: float
    """On the query rows of the episode; nats for classes, the model's own unit for numbers."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    seconds: float
    """The run's own seconds since training began, as in ``RunFinished.train_seconds``."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Scores on the validation or test rows; step 0 is zero-shot."""

    step: int
    split: Literal["validation", "test"]
    scores: dict[str, float]
    best: bool
    """Whether this is the best validation score so far."""
    seconds: float
    """The run's own seconds since training began."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Training resumes in another process from a saved state; later steps of the earlier process are void."""

    step: int
    """Last step of the saved state; 0: training starts anew."""


@dataclass(frozen=True, slots=True)
class MemorySampled:
    """One sample of the meters: bytes, watts, degrees Celsius, per cent."""

    phase: Phase
    resident_bytes: int
    """Resident memory of the process."""
    torch_allocated_bytes: int | None = None
    torch_reserved_bytes: int | None = None
    nvml_device_bytes: int | None = None
    utilisation_percent: int | None = None
    power_watts: float | None = None
    temperature_celsius: int | None = None


@dataclass(frozen=True, slots=True)
class PhaseDone:
    """The end of a phase with its peaks."""

    phase: Phase
    seconds: float
    peak_bytes: dict[str, int | None]
    """By meter: resident, torch_allocated, torch_reserved, nvml_device."""
    growth_bytes: int | None
    """Peak over the loaded base, on the device's ranking meter: torch_allocated on a GPU, resident on the CPU."""
    base_bytes: int | None = None
    """Level of the loaded base on that meter, at the end of ``load``; None in other phases."""
    device_bytes: int | None = None
    """Total memory of the GPU, at the end of ``load``; None in other phases and on the CPU."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The end with a result: everything that the leaderboard shows."""

    outcome: Literal["finished", "stopped", "diverged"]
    best_step: int
    """0: the pretrained weights were never beaten and are returned."""
    steps_done: int
    stopped_early: bool
    validation: dict[str, float]
    test: dict[str, float]
    zero_shot_validation: dict[str, float]
    zero_shot_test: dict[str, float]
    train_seconds: float
    """The run's own time, the same whatever ran before it or beside it.

    Included: evaluations on the validation rows, and frozen forward passes of an earlier run, at their original cost.
    Excluded: hashing, events, files (also checkpoints) and waits for a core that others used.
    """
    predict_seconds: float
    """For the test rows, counted as ``train_seconds`` are."""
    peak_memory_bytes: int | None
    """Highest of the whole run, on the device's ranking meter; None if it is not the run's own."""
    growth_memory_bytes: int | None
    """Peak of training over the loaded base; None if nothing is trained."""
    memory_meter: str
    """The device's ranking meter: torch_allocated or resident."""
    trainable_parameters: int
    total_parameters: int
    adapter_bytes: int | None
    """Size of the adapter package; None without an adapter."""
    adapter_verified: bool | None = None
    """Whether a fresh process gave the same predictions from the package; None: it gave none."""
    shared_saved_seconds: float = 0.0
    """The part of ``train_seconds`` that earlier runs had computed, so that this run did not spend it."""
    train_wall_seconds: float = 0.0
    """Wall-clock time of training, including every wait and file."""
    predict_growth_memory_bytes: int | None = None
    """Peak over the loaded base of the final prediction of the held-out rows."""
    ended_by: EndedBy = ""
    """What ended training before its last step, other than a person or early stopping."""
    used_rows: int = 0
    """Query rows that were trained on."""
    skipped_rows: int = 0
    """Query rows not trained on, because the context of their episode did not show their class."""
    skipped_episodes: int = 0
    """Steps without a query row that could be scored."""
    rows_sha256: str | None = None
    """Hash of the row numbers and targets of the held-out rows; None for a fit of a pipeline."""
    context_sha256: str | None = None
    """Hash of the context rows."""
    shared_made: int = 0
    """Number of shared arrays that the run made."""
    shared_reused: int = 0
    """Number of shared arrays that an earlier run had made."""
    scored_context_rows: int | None = None
    """Context rows when a pipeline's fit scored the validation rows; None without validation rows."""
    final_context_rows: int | None = None
    """Context rows of a fitted pipeline's predictions."""
    context_rows: int | None = None
    """Context rows of predictions, also of zero-shot's; None for references."""
    train_context_rows: int | None = None
    """Context rows of a training step; None if nothing was trained."""
    planned_steps: int = 0
    """Steps that training would have taken to its end; 0 if nothing was to be trained."""
    resumed_steps: tuple[int, ...] = ()
    """Steps after which training resumed in another process; seconds add up, memory peaks are the highest."""

    @property
    def run_growth_memory_bytes(self) -> int | None:
        """Returns the peak of training or of prediction over the loaded base, whichever is higher."""
        grown = (self.growth_memory_bytes, self.predict_growth_memory_bytes)
        return max((size for size in grown if size is not None), default=None)


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The end without a result."""

    message: str
    """For the person: what happened and what to do."""
    kind: str
    """Class name of the error; the trace is in the run's log."""


Event = (
    PhaseStarted
    | Note
    | RunPlanned
    | StepDone
    | Evaluated
    | Resumed
    | MemorySampled
    | PhaseDone
    | RunFinished
    | RunFailed
)
EVENTS: dict[str, type] = {cls.__name__: cls for cls in get_args(Event)}


def to_json(event: Event) -> tuple[str, str]:
    """Returns kind and payload; a loss that is not finite is kept as NaN or Infinity."""
    return type(event).__name__, json.dumps(dataclasses.asdict(event))


def from_json(kind: str, payload: str) -> Event:
    """Restores an event; raises ValueError if its kind or a field is unknown, missing or of another type."""
    if kind not in EVENTS:
        raise ValueError(f"{kind!r} is not an event that this version knows")
    hints = hints_of(EVENTS[kind])
    try:
        values = json.loads(payload)
        lists = {name: value for name, value in values.items() if isinstance(value, list)}
        values |= {name: tuple(value) for name, value in lists.items() if get_origin(hints.get(name)) is tuple}
        event: Event = EVENTS[kind](**values)
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"a {kind} cannot be read: {error}") from error
    check_fields(event)
    return event


@functools.cache
def required(kind: str) -> frozenset[str]:
    """Returns the fields without a default, which every event of a kind has."""
    fields = dataclasses.fields(EVENTS[kind])
    return frozenset(f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING)

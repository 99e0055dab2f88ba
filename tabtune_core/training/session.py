"""The session of a fit: the model, the rows, the plan and the cache that all its phases use.

In: a plan, a function that prepares the table, and the environment. Out: a session with a loaded model.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tabtune_core.data.task import Prepared
from tabtune_core.devices import describe_device, is_gpu, memory_bytes, own_chance
from tabtune_core.events import Event, Note, RunPlanned, StopRequest
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.lora.inject import LoraReport
from tabtune_core.models.adaptation import OWN, put_on
from tabtune_core.models.base import BaseModel, load_model
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import check_features, check_request, get_card
from tabtune_core.models.checkpoints import is_here
from tabtune_core.models.stages import stages_of
from tabtune_core.settings import RunSettings
from tabtune_core.training.array_cache import SharedArrays
from tabtune_core.training.episodes import Episode
from tabtune_core.training.memory.estimate import with_shown_rows
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.notices import beginnings
from tabtune_core.training.prefix_cache import SharedPrefix
from tabtune_core.training.scoring import ModelRows
from tabtune_core.training.step import Precision, episode_loss
from tabtune_core.upstream import DISTRIBUTION
from tabtune_core.variants import VARIANTS


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings with everything that follows from them."""

    settings: RunSettings
    """The settings as asked for."""
    shown: RunSettings
    """The settings with the number of context rows of a prediction filled in; they are stored in the fit's files."""
    card: ModelCard
    device: torch.device

    @classmethod
    def of(cls, settings: RunSettings, *, features: int, device: torch.device) -> "Plan":
        """Makes the plan for a table with so many ``features``; raises TabTuneError as ``check_request`` does."""
        check_request(settings)
        shown = with_shown_rows(settings, features=features, memory_bytes=memory_bytes(device), on_gpu=is_gpu(device))
        return cls(settings, shown, get_card(settings.model), device)


CONTEXT, QUERY, FEATURES = 64, 16, 4
"""Sizes of the warm-up table: large enough to use the kernels of a large table, at little cost."""
USED: set[tuple[str, str, int]] = set()
"""Warm-ups that this process has done on the CPU, by model, task and number of trained tensors."""


def use_once(model: BaseModel, *, device: torch.device) -> None:
    """Predicts once and, if something trains, takes one step that changes nothing; random states are kept.

    Otherwise starting CUDA would count as the run's time, and cuBLAS workspaces as its memory.
    """
    trained = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    key = (model.card.name, model.task, len(trained))
    if device.type == "cpu" and key in USED:
        return
    classes = 2 if model.task == "classification" else 0
    x_TF = np.random.default_rng(0).normal(size=(CONTEXT + QUERY, FEATURES)).astype(np.float32)
    ids_T = np.arange(CONTEXT + QUERY) % 2
    y_T = ids_T if classes else ids_T.astype(np.float64)
    model.predict(x_TF[:CONTEXT], y_T[:CONTEXT], x_TF[CONTEXT:], classes)
    USED.add(key)
    if not trained:
        return
    was_training = model.module.training
    model.module.train()
    with own_chance(device):
        episode_loss(model, Episode(x_TF, y_T[:CONTEXT], y_T[CONTEXT:]), classes, device).backward()  # type: ignore[no-untyped-call]
    model.module.train(was_training)
    for parameter in trained:
        parameter.grad = None
    other = nn.Parameter(torch.zeros(2, device=device))
    other.grad = torch.ones_like(other)
    nn.utils.clip_grad_norm_([other], 1.0)
    torch.optim.AdamW([other], lr=0.0, fused=True).step()


PRIVATE = "frozen"
"""Name of the cache folder of a fit that does not share its cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Whom a fit reports to, and what it shares."""

    meter: MemoryMeter
    """Measures every phase."""
    folder: Path
    """Folder of the best state during training; the caller deletes it."""
    emit: Callable[[Event], None]
    """Called from two threads."""
    stop_request: Callable[[], StopRequest | None] = lambda: None
    """Called before every step."""
    shared: Path | None = None
    """Cache folder that fits share; None: the fit has its own cache in ``folder``."""
    last_state: Path | None = None
    """File for the last state; the fit resumes from it if it exists. None: no state is saved."""
    rungs: tuple[float, ...] = ()
    """Shares of the steps after which training pauses; ``fit`` then raises ``Waiting``."""
    paused: bool = False
    """Whether the last state is that of such a pause, not of an interruption."""

    @property
    def goes_on(self) -> bool:
        """Whether an earlier process of the run saved a state; its zero-shot events stay valid if the state is used."""
        return self.last_state is not None and self.last_state.exists()


@dataclass(frozen=True, slots=True)
class Session:
    """One model and one table, ready to be scored and trained."""

    resolved: Plan
    environment: Environment
    precision: Precision
    """Number format of a training step."""
    model: BaseModel
    adapters: AdapterSet
    """Holds the trained adapter; empty without LoRA."""
    report: LoraReport | None
    table: Prepared
    rows: ModelRows
    plan: RunPlanned
    arrays: SharedArrays
    """The cache, with the clock of the fit's own time."""
    prefix: SharedPrefix
    """The frozen first stages of the model, computed once per input."""

    @property
    def settings(self) -> RunSettings:
        """Returns the settings as asked for."""
        return self.resolved.settings

    @property
    def device(self) -> torch.device:
        """Returns the device of the fit."""
        return self.resolved.device


def open_session(resolved: Plan, prepare_table: Callable[[], Prepared], environment: Environment) -> Session:
    """Loads the model and the table, and emits the plan; raises TabTuneError if that cannot be done."""
    settings, device, emit = resolved.settings, resolved.device, environment.emit
    precision = Precision.of(settings.train.amp, device)
    with environment.meter.phase("load"):
        table = prepare_table()
        model, adapters = _open_model(resolved, emit)
        report = adapters.report(OWN) if adapters.names else None
        check_features(model.card, table.context.x_CF.shape[1])
        rows = ModelRows.of(table, model, settings.train)
        plan = _plan(settings, table, model, rows, report, describe_device(device))
        emit(plan)
        for note in beginnings(settings, table, report, plan):
            emit(note)
    folder = environment.folder / PRIVATE if environment.shared is None else environment.shared
    arrays = SharedArrays(folder, _salt(model, plan))
    stages = stages_of(model.card.family, model.module)
    on = settings.strategy != "inference" and settings.train.amp == "off"
    prefix = SharedPrefix(model.module, stages, arrays, on=on)
    return Session(resolved, environment, precision, model, adapters, report, table, rows, plan, arrays, prefix)


def _open_model(resolved: Plan, emit: Callable[[Event], None]) -> tuple[BaseModel, AdapterSet]:
    """Loads the base model, adds the adapter if there is one, and makes trainable exactly what the strategy trains."""
    settings, card, device = resolved.settings, resolved.card, resolved.device
    weights = card.weights_for(settings.task)
    if settings.checkpoint is None and not is_here(weights):
        size = f"about {4e-6 * weights.total_parameters:.0f} MB"
        emit(Note(f"Downloading {weights.file} ({size}); the log shows the progress."))
    model = load_model(card, settings.task, device, settings.checkpoint)
    if settings.strategy == "inference":
        model.module.requires_grad_(False)
    adapters = AdapterSet(model.module)
    if settings.strategy == "peft":
        if loading := VARIANTS[settings.lora.variant].loading:
            emit(Note(loading))
        put_on(adapters, model, settings.lora)
        model.module = adapters.module
    use_once(model, device=device)  # otherwise first-use memory would count as growth of zero-shot and training
    return model, adapters


def _plan(
    settings: RunSettings, table: Prepared, model: BaseModel, rows: ModelRows, report: LoraReport | None, device: str
) -> RunPlanned:
    train, trains, parameters = settings.train, settings.strategy != "inference", list(model.module.parameters())
    steps = train.steps or train.epochs * rows.size.steps_an_epoch(len(rows.y_N))
    shown, evaluated = rows.size.context + rows.size.query, len(rows.evaluator.y_C) + len(table.split.validation)
    return RunPlanned(
        device=device,
        steps=steps if trains else 0,
        train_rows=len(rows.y_N),
        validation_rows=len(table.split.validation),
        test_rows=len(table.split.test),
        context_rows=len(table.context.y_C),
        query_rows=rows.size.query,
        features=rows.x_NF.shape[1],
        classes=table.context.labels.classes,
        total_parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        layers=report.rows() if report else (),
        base=model.source.to_json(),
        train_context_rows=rows.size.context if trains else None,
        evaluation_context_rows=len(rows.evaluator.y_C) if trains else None,
        eval_every=train.eval_every_of(steps, shown=shown, evaluated=evaluated) if trains else None,
        rarer=table.context.rarer,
    )


def _salt(model: BaseModel, plan: RunPlanned) -> str:
    """Returns what every cached array depends on besides its own inputs."""
    packages = (DISTRIBUTION, "torch", model.card.family.distribution)
    device = re.sub(r"^cuda:\d+", "cuda", plan.device)  # equal GPUs give equal numbers
    return " ".join([model.source.sha256, model.task, device, *(f"{name} {version(name)}" for name in packages)])

"""Estimates the memory of a run before it starts, from the architecture and the sizes of the table. Loads no torch.

In: settings, a model card, sizes. Out: bytes by cause, as the families' ``activations`` count them. On the CPU,
constants stand for what torch allocates at the first steps and for gaps in glibc's heap, which differ between runs:
so the estimate is a band, and measuring a few steps makes it a number. ``tests/benchmarks`` compares both.
"""

from dataclasses import dataclass, replace

from tabtune_core.data.splits import SplitSizes
from tabtune_core.metrics import Task
from tabtune_core.models.activation_tape import NUMBER_BYTES, Tape, Trained
from tabtune_core.models.cards import ModelCard, adapted_ranks, adapter_size
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.training.episodes import EVALUATION_ROWS, ROWS_AT_ONCE, EpisodeSize

MOMENTS = {"adamw": 2, "adam": 2, "sgd": 1}
"""Numbers that an optimizer keeps per trained weight: Adam's two moments, SGD's momentum."""
CPU_FIRST_USE_BYTES, CPU_FIRST_PREDICTION_BYTES = 4e6, 1e6
"""What torch still allocates at the first steps and at the first prediction, after the warm-up."""
HEAP, HEAP_RECOMPUTED = 1.3, 1.7
"""Resident bytes of the heap over those in use, if tensors are kept to the end of the forward pass, or freed by block.

All four are rounded from 53 random runs of the three minis and six of TabICL v2.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of a table for a training step and a prediction."""

    context_rows: int
    """Context rows of a step."""
    query_rows: int
    features: int
    classes: int
    """0 for regression."""
    shown_rows: int
    """Context rows of a prediction."""
    evaluation_rows: int
    """Context rows of an evaluation during training."""
    predicted_rows: int
    """Rows predicted at once."""

    @classmethod
    def plan(cls, settings: RunSettings, split: SplitSizes, *, features: int, classes: int) -> "Sizes":
        """Returns the sizes for a table before it is split."""
        train = settings.train
        most = min(split.validation, train.validation_rows)
        if settings.strategy == "inference":
            most = max(most, min(split.test, train.test_rows))
        step = EpisodeSize.plan(split.train, batch_size=train.batch_size, context_rows=train.context_rows)
        shown_rows = min(train.predict_context_rows or split.train, split.train)
        return cls(
            context_rows=step.context,
            query_rows=step.query,
            features=features,
            classes=classes,
            shown_rows=shown_rows,
            evaluation_rows=min(shown_rows, EVALUATION_ROWS),
            predicted_rows=min(most, ROWS_AT_ONCE),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryByCause:
    """Bytes at the peak of a run by cause, as in section 7 of the guide."""

    weights: int
    """Weights of the base model."""
    adapter: int
    """A and B of every adapted layer, and a variant's other tensors; allocated during loading, like the weights."""
    gradients: int
    optimizer: int
    activations: int
    """What layers keep for the backward pass, and everything temporary, such as predictions and gaps in the heap."""

    @property
    def growth(self) -> int:
        """Returns the growth over the loaded model, as a run's growth of memory is measured."""
        return self.gradients + self.optimizer + self.activations

    @property
    def total(self) -> int:
        """Returns the sum, without the process itself, which takes some hundred MB for Python and torch."""
        return self.weights + self.adapter + self.growth

    def with_growth(self, growth_bytes: float) -> "MemoryByCause":
        """Replaces the growth by another number; the difference is put down to activations."""
        return replace(self, activations=max(0, round(growth_bytes) - self.gradients - self.optimizer))


def estimate_memory(settings: RunSettings, card: ModelCard, sizes: Sizes, *, on_gpu: bool) -> MemoryByCause:
    """Estimates bytes by cause at the peak of a run's training, or of zero-shot's predictions.

    A checkpoint that a person supplies is assumed to have the model's architecture; see also ``prediction_bytes``.

    Raises:
        TargetError: a pattern that names no adapted layer.
    """
    task, family = settings.task, card.family.code("activations")
    weights = card.weights_for(task)
    first = 0.0 if on_gpu else CPU_FIRST_PREDICTION_BYTES if settings.strategy == "inference" else CPU_FIRST_USE_BYTES
    adapter = adapter_size(card, task, settings.lora) if settings.strategy == "peft" else None
    of_strategy = {"inference": 0, "base-ft": weights.total_parameters}
    trained = of_strategy.get(settings.strategy, adapter.trainable if adapter else 0)
    context_rows = sizes.shown_rows if settings.strategy == "inference" else sizes.evaluation_rows
    kept = (1.0 if on_gpu else HEAP) * family.predicting(
        weights.config, context=context_rows, query=sizes.predicted_rows, features=sizes.features
    )
    if settings.strategy != "inference":
        updated = NUMBER_BYTES * trained
        kept = max(kept, _step_bytes(settings, card, sizes, updated, on_gpu=on_gpu), 0 if on_gpu else updated)
    return MemoryByCause(
        weights=NUMBER_BYTES * weights.total_parameters,
        adapter=NUMBER_BYTES * (adapter.factors + adapter.frozen) if adapter else 0,
        gradients=NUMBER_BYTES * trained,
        optimizer=NUMBER_BYTES * MOMENTS[settings.train.optimizer] * trained,
        activations=round(first + kept),
    )


def prediction_bytes(
    card: ModelCard, task: Task, *, shown: int, features: int, on_gpu: bool, predicted_rows: int = ROWS_AT_ONCE
) -> float:
    """Estimates the peak bytes of a prediction over the loaded model, with ``shown`` context rows."""
    first, heap = (0.0, 1.0) if on_gpu else (CPU_FIRST_PREDICTION_BYTES, HEAP)
    counts = card.family.code("activations")
    return first + heap * float(
        counts.predicting(card.weights_for(task).config, context=shown, query=predicted_rows, features=features)
    )


def _step_bytes(settings: RunSettings, card: ModelCard, sizes: Sizes, gradients: int, *, on_gpu: bool) -> float:
    """Estimates the peak bytes of a step without gradients and optimizer state, including gaps in the heap.

    Gradients appear while activations are freed: all activations and no gradients, or one block's and all gradients.
    """
    recomputed = settings.train.gradient_checkpointing or not card.family.block_lists
    tape = step_tape(settings, card, sizes, on_gpu=on_gpu)
    heap = 1.0 if on_gpu else HEAP_RECOMPUTED if recomputed else HEAP
    kept = heap * tape.peak_bytes(checkpointed=True)
    if not recomputed:
        kept = max(kept, heap * tape.peak_bytes(checkpointed=False) - gradients)
    copied = 0 if settings.train.amp == "off" else card.weights_for(settings.task).total_parameters
    return kept + 2 * copied  # that autocast keeps


def step_tape(settings: RunSettings, card: ModelCard, sizes: Sizes, *, on_gpu: bool) -> Tape:
    """Records what autograd keeps during a step, block by block; raises TargetError for an unknown pattern."""
    half, lora, peft = settings.train.amp != "off", settings.lora, settings.strategy == "peft"
    ranks = adapted_ranks(card, settings.task, lora) if peft else {}
    trained = Trained(
        everything=not peft,
        ranks=ranks,
        dropout=lora.dropout > 0,
        biases=peft and lora.bias == "all",
        variant=lora.variant,
    )
    tape = Tape(trained, number_bytes=2 if half else NUMBER_BYTES, mask_bytes=1 if on_gpu else NUMBER_BYTES)
    card.family.code("activations").training(
        tape,
        card.weights_for(settings.task).config,
        context=sizes.context_rows,
        query=sizes.query_rows,
        features=sizes.features,
        classes=sizes.classes,
    )
    return tape


SHARE = 0.5
"""Share of the device's total memory for a prediction at its peak; the free memory changes from day to day."""
OPERATIONS = {"cpu": 2.8e11, "cuda": 2.8e14}
"""Most operations of the context rows' attention to each other, the square of their number: five to ten seconds.

On the CPU, TabICL mini and TabDPT mini get 8,192 rows (1,000 predictions took 5 s), Mitra mini 4,096 (9 s).
"""
ALWAYS = 2048
"""Context rows that are used however long it takes, if memory and model allow."""
LEAST, MOST = 128, 2**20


def with_shown_rows(settings: RunSettings, *, features: int, memory_bytes: int, on_gpu: bool) -> RunSettings:
    """Returns the settings with ``predict_context_rows``: as asked for, or a power of two that the model allows.

    ``memory_bytes`` is the total memory of the device.

    Raises:
        SettingError: the model does not exist or does not do the task.
    """
    if settings.train.predict_context_rows is not None:
        return settings
    card = get_card(settings.model)
    config = card.weights_for(settings.task).config
    each = card.family.code("activations").attention(config, features=features)  # of a pair of rows
    rows = MOST
    while rows > ALWAYS and each * rows**2 > OPERATIONS["cuda" if on_gpu else "cpu"]:
        rows //= 2
    while (
        rows > LEAST
        and prediction_bytes(card, settings.task, shown=rows, features=features, on_gpu=on_gpu) > SHARE * memory_bytes
    ):
        rows //= 2
    return settings.changed(predict_context_rows=min(rows, card.family.context_limit or rows))

"""The guide as data: its quick reference (section 15), its rank rule (4.1), and its warnings (4, 6, 13), shown before a sweep starts.

In: a sweep and a few counts. Out: the warnings that apply, each with what to do. Nothing here forbids anything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tabtune_core.metrics import METRICS
from tabtune_core.settings import LoraSettings, Strategy, SweepSettings
from tabtune_core.settings.labels import short_rate

SMALL_TABLE_ROWS = 10_000
MEDIUM_TABLE_ROWS = 100_000
"""The guide's limits between small, medium and large tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One row of the quick reference."""

    title: str
    lora: LoraSettings
    learning_rate: float

    @property
    def said(self) -> str:
        """For example ``rank 4, alpha 8, dropout 0.1, learning rate 2e-4``."""
        lora = self.lora
        return f"rank {lora.rank}, alpha {lora.effective_alpha:g}, dropout {lora.dropout:g}, learning rate {short_rate(self.learning_rate)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What to start with on one table."""

    preset: str
    """Its key in PRESETS."""
    reason: str


PRESETS: dict[str, Preset] = {
    "small": Preset(title="Small data (to 10,000 rows)", lora=LoraSettings(rank=4, alpha=8, dropout=0.1), learning_rate=2e-4),
    "medium": Preset(title="Medium data (to 100,000 rows)", lora=LoraSettings(rank=8, alpha=16, dropout=0.05), learning_rate=2e-4),
    "large": Preset(title="Large data (beyond)", lora=LoraSettings(rank=16, alpha=32, dropout=0.02), learning_rate=1e-4),
    "memory": Preset(title="Memory limited", lora=LoraSettings(rank=2, alpha=4, dropout=0.2), learning_rate=1e-4),
    "accuracy": Preset(title="Max accuracy", lora=LoraSettings(rank=16, alpha=32, dropout=0.05), learning_rate=5e-5),
}


def preset_for(rows: int) -> Preset:
    """Returns the preset for a table of ``rows`` rows.

    >>> [preset_for(n).lora.rank for n in (500, 10_000, 100_000, 1_000_000)]
    [4, 4, 8, 16]
    """
    return PRESETS[propose(rows).preset]


def propose(rows: int) -> Proposal:
    """Proposes a preset for a table of ``rows`` rows, with the reason.

    >>> propose(569).reason
    '569 rows: small data, up to 10,000 rows. Few rows suit a low rank, and dropout keeps the adapter from memorizing them.'
    """
    if rows <= SMALL_TABLE_ROWS:
        why = f"small data, up to {SMALL_TABLE_ROWS:,} rows. "
        why += "Few rows suit a low rank, and dropout keeps the adapter from memorizing them."
        return Proposal(preset="small", reason=f"{rows:,} rows: {why}")
    if rows <= MEDIUM_TABLE_ROWS:
        why = f"medium data, up to {MEDIUM_TABLE_ROWS:,} rows. These are enough rows for rank 8, with a little dropout."
        return Proposal(preset="medium", reason=f"{rows:,} rows: {why}")
    why = f"large data, beyond {MEDIUM_TABLE_ROWS:,} rows. Use a higher rank, a lower learning rate and almost no dropout."
    return Proposal(preset="large", reason=f"{rows:,} rows: {why}")


USUAL_RATIO = 2.0
"""The guide's section 13: LoRA needs at least twice the learning rate of full fine-tuning; its section 6.2 uses ten times that rate."""
SMALL_MODEL_PARAMETERS = 5_000_000
"""Below this, weights, gradients and Adam's two moments take less than 80 MB even when all of them train."""
BYTES_TRAINED = 16
"""A weight, its gradient and Adam's two moments, four bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the warnings look at."""

    sweep: SweepSettings
    usual_rates: Mapping[Strategy, float]
    """Peak learning rates that are used where none is set."""
    rows: int
    model_parameters: int
    adapted_weights: int
    """Parameters of the weights that get an adapter."""
    adapter_parameters: int
    """Parameters of the adapter at the highest rank."""

    @property
    def dropouts(self) -> tuple[float, ...]:
        """Dropouts that the sweep compares."""
        return self.sweep.dropouts or (self.sweep.run.lora.dropout,)

    @property
    def rates(self) -> tuple[float, ...]:
        """Peak learning rates of LoRA."""
        return self.sweep.learning_rates or (self.sweep.run.train.learning_rate or self.usual_rates["peft"],)

    @property
    def full_rates(self) -> tuple[float, ...]:
        """Peak learning rates of full fine-tuning; empty if it does not run."""
        return (self.sweep.full_learning_rates or (self.usual_rates["base-ft"],)) if self.sweep.full_fine_tuning else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One warning."""

    knob: str
    """The setting that it is about."""
    when: Callable[[Facts], bool]
    text: Callable[[Facts], str]
    """The warning itself."""
    todo: str
    """What to do about it."""


ADVICE = (
    Advice(
        knob="ranks",
        when=lambda facts: min(facts.sweep.ranks, default=2) < 2,
        text=lambda facts: "Rank 1 can shift each layer along one direction only.",
        todo="Keep rank 1 to see whether it is enough; otherwise start at 2.",
    ),
    Advice(
        knob="dropouts",
        when=lambda facts: bool(facts.sweep.ranks) and facts.rows <= SMALL_TABLE_ROWS and min(facts.dropouts) == 0,
        text=lambda facts: f"{facts.rows:,} rows without dropout: the adapter may memorize the training rows.",
        todo="Use 0.1 to 0.2 on a table this small, or compare both.",
    ),
    Advice(
        knob="learning_rates",
        when=lambda facts: bool(facts.sweep.ranks and facts.full_rates) and min(facts.rates) < USUAL_RATIO * max(facts.full_rates),
        text=lambda facts: (
            f"LoRA has the learning rate {min(facts.rates):g} and full fine-tuning {max(facts.full_rates):g}: "
            "similar rates make LoRA look weaker than it is."
        ),
        todo="Give LoRA two to ten times the learning rate of full fine-tuning.",
    ),
    Advice(
        knob="ranks",
        when=lambda facts: 0 < facts.adapted_weights <= facts.adapter_parameters,
        text=lambda facts: (
            f"At rank {max(facts.sweep.ranks)} the adapter has {facts.adapter_parameters:,} parameters and "
            f"the weights that it adapts have {facts.adapted_weights:,}: it saves nothing."
        ),
        todo="Choose a lower rank.",
    ),
    Advice(
        knob="model",
        when=lambda facts: bool(facts.sweep.ranks) and facts.model_parameters < SMALL_MODEL_PARAMETERS,
        text=lambda facts: (
            f"The model has {facts.model_parameters / 1e6:.1f} M parameters: training all of them takes only "
            f"{facts.model_parameters * BYTES_TRAINED / 1e6:.0f} MB beside the activations, so LoRA can save little memory."
        ),
        todo="Use it to compare settings; to save memory, choose a larger model or adapt only late layers.",
    ),
    Advice(
        knob="warmup_ratio",
        when=lambda facts: (
            (facts.sweep.run.train.warmup_steps == 0)
            if facts.sweep.run.train.warmup_steps is not None
            else facts.sweep.run.train.warmup_ratio == 0
        ),
        text=lambda facts: "No warm-up: the first steps use the full learning rate and may damage the model.",
        todo="Warm up over a tenth of the steps.",
    ),
    Advice(
        knob="clip_norm",
        when=lambda facts: facts.sweep.run.train.clip_norm == 0,
        text=lambda facts: "No gradient clipping: one bad episode may undo the training.",
        todo="Clip at 1.",
    ),
    Advice(
        knob="class_weights",
        when=lambda facts: facts.sweep.run.train.class_weights == "balanced" and facts.sweep.run.selection_metric in ("log_loss", "brier"),
        text=lambda facts: (
            f"Class weights change the probabilities, so {METRICS[facts.sweep.run.selection_metric].written} on the validation rows may "
            "get worse; the pretrained weights are then returned."
        ),
        todo="Choose balanced accuracy or average precision as the selection metric (Advanced, Best checkpoint).",
    ),
)


def advise(facts: Facts) -> list[Advice]:
    """The warnings that apply, in the order of the form."""
    return [warning for warning in ADVICE if warning.when(facts)]

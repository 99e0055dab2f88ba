"""The guide as data: its quick reference (section 15), its rank rule (4.1), and its warnings (4, 6, 13) before these runs start.

In: a sweep and a few counts. Out: what applies, each with what to do. Nothing here forbids anything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tabtune_core.metrics import METRICS
from tabtune_core.settings import LoraSettings, Strategy, SweepSettings
from tabtune_core.settings.labels import short_rate

SMALL_TABLE_ROWS = 10_000
MEDIUM_TABLE_ROWS = 100_000
"""Where the guide's tables go on to the next row."""


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
    """The row of the guide's tables for a table of so many rows.

    >>> [preset_for(n).lora.rank for n in (500, 10_000, 100_000, 1_000_000)]
    [4, 4, 8, 16]
    """
    return PRESETS[propose(rows).preset]


def propose(rows: int) -> Proposal:
    """What to start with on a table of so many rows, and why.

    >>> propose(569).reason
    '569 rows: small data, up to 10,000 rows. Few rows bear few parameters, and dropout keeps the adapter from memorizing them.'
    """
    if rows <= SMALL_TABLE_ROWS:
        why = f"small data, up to {SMALL_TABLE_ROWS:,} rows. "
        why += "Few rows bear few parameters, and dropout keeps the adapter from memorizing them."
        return Proposal(preset="small", reason=f"{rows:,} rows: {why}")
    if rows <= MEDIUM_TABLE_ROWS:
        why = f"medium data, up to {MEDIUM_TABLE_ROWS:,} rows. There is enough to fill a rank of 8, and a little dropout will do."
        return Proposal(preset="medium", reason=f"{rows:,} rows: {why}")
    why = f"large data, beyond {MEDIUM_TABLE_ROWS:,} rows. They can fill a higher rank, at a lower rate, almost without dropout."
    return Proposal(preset="large", reason=f"{rows:,} rows: {why}")


USUAL_RATIO = 2.0
"""The guide's section 13: LoRA wants at least twice the rate of full fine-tuning; its section 6.2 takes ten times."""
SMALL_MODEL_PARAMETERS = 5_000_000
"""Below this, weights, gradients and Adam's two moments take less than 80 MB even when all of them train."""
BYTES_TRAINED = 16
"""A weight, its gradient and Adam's two moments, four bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the warnings look at."""

    sweep: SweepSettings
    usual_rates: Mapping[Strategy, float]
    """Peak rates of what is given none."""
    rows: int
    """Of the table."""
    model_parameters: int
    adapted_weights: int
    """Parameters of the weights that get an adapter."""
    adapter_parameters: int
    """Of the adapter at the highest rank."""

    @property
    def dropouts(self) -> tuple[float, ...]:
        """Those that are compared."""
        return self.sweep.dropouts or (self.sweep.run.lora.dropout,)

    @property
    def rates(self) -> tuple[float, ...]:
        """Peak rates of LoRA."""
        return self.sweep.learning_rates or (self.sweep.run.train.learning_rate or self.usual_rates["peft"],)

    @property
    def full_rates(self) -> tuple[float, ...]:
        """Peak rates of full fine-tuning; empty if it does not run."""
        return (self.sweep.full_learning_rates or (self.usual_rates["base-ft"],)) if self.sweep.full_fine_tuning else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One warning."""

    knob: str
    """The setting that it is about."""
    when: Callable[[Facts], bool]
    text: Callable[[Facts], str]
    """What is so."""
    todo: str
    """What to do about it."""


ADVICE = (
    Advice(
        knob="ranks",
        when=lambda facts: min(facts.sweep.ranks, default=2) < 2,
        text=lambda facts: "Rank 1 can shift each layer along one direction only.",
        todo="Keep it to see how little is enough; else start at 2.",
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
            f"LoRA would learn at {min(facts.rates):g} beside full fine-tuning at {max(facts.full_rates):g}: "
            "one rate for both makes LoRA look worse than it is."
        ),
        todo="Give LoRA two to ten times the rate of full fine-tuning.",
    ),
    Advice(
        knob="ranks",
        when=lambda facts: 0 < facts.adapted_weights <= facts.adapter_parameters,
        text=lambda facts: (
            f"At rank {max(facts.sweep.ranks)} the adapter has {facts.adapter_parameters:,} parameters, "
            f"the weights that it adapts {facts.adapted_weights:,}: it saves nothing."
        ),
        todo="Choose a lower rank.",
    ),
    Advice(
        knob="model",
        when=lambda facts: bool(facts.sweep.ranks) and facts.model_parameters < SMALL_MODEL_PARAMETERS,
        text=lambda facts: (
            f"A model of {facts.model_parameters / 1e6:.1f} M parameters: training all of them takes "
            f"{facts.model_parameters * BYTES_TRAINED / 1e6:.0f} MB beside the activations, and LoRA on all parts saves little more."
        ),
        todo="Use it to compare settings; for a real saving choose a larger model, or adapt late layers alone.",
    ),
    Advice(
        knob="warmup_ratio",
        when=lambda facts: (
            (facts.sweep.run.train.warmup_steps == 0)
            if facts.sweep.run.train.warmup_steps is not None
            else facts.sweep.run.train.warmup_ratio == 0
        ),
        text=lambda facts: "No warm-up: the first steps are taken at the full rate and may throw the model off.",
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
            f"Class weights change the probabilities, and {METRICS[facts.sweep.run.selection_metric].written} on the validation rows may "
            "get worse by it: then the pretrained weights are returned."
        ),
        todo="Let balanced accuracy or average precision decide (Advanced, Best checkpoint).",
    ),
)


def advise(facts: Facts) -> list[Advice]:
    """The warnings that apply, in the order of the form."""
    return [warning for warning in ADVICE if warning.when(facts)]

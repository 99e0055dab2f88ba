"""The settings of an adapter and of its training.

In: numbers, choices and names. Out: frozen dataclasses whose values have been checked. The docstring under each field
is the widget's tooltip and the command line's help.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tabtune_core.metrics import METRICS
from tabtune_core.settings.fields import ALL, LORA, MODELS, TRAINED, Idle, Strategy, setting
from tabtune_core.settings.validation import check, require

Bias = Literal["none", "all", "lora_only"]
Start = Literal["default", "pissa"]
Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "linear", "constant"]
ClassWeights = Literal["none", "balanced"]
Amp = Literal["off", "bf16", "fp16"]
MOST_VIEWS = 64
"""Largest ensemble size; a larger ensemble takes time and predicts no better.

Packages made elsewhere are checked against it too.
"""
WITHOUT_CLASSES = Idle("task", "regression", "for regression, which has no classes; leave it out.")
WITHOUT_MOMENTS = Idle("optimizer", "sgd", "with the optimizer 'sgd'; leave it out, or choose 'adamw'.")

ALPHA = "With 0 the adapter would do nothing; twice the rank is usual."
DROPOUT = "With 1 nothing would reach the adapter; 0.05 is usual."
NO_TRAINING = "For no training at all, choose the strategy 'inference' (zero-shot)."
USUAL_RATE = "Leave it out for the one that was measured for the model."
PLAIN, CLIPPING, BETAS = "1 is plain LoRA.", "1 is usual, 0 is no clipping.", "0.9 and 0.999 are usual."
SECONDS, PATIENCE = "It is in seconds; leave it out for no limit.", "0 never stops early."
EPISODES, VIEWS, FIT = "0 draws a fresh episode at every step.", "4 takes four times the time.", "all that fit"
ROWS, ENSEMBLE = "{:,} context rows".format, "ensemble of {}".format
USUAL_CONTEXT_ROWS = 512
"""Context rows of a training step. Measured with a small TabICL, rank 8, one seed, on banana, segment and titanic with
all training rows as context at prediction: against 2,048, the test log-loss is 0.008 higher with 256 (0.007 to 0.010;
on chess 0.027) and 0.004 higher with 512 (-0.009 to 0.015), which takes 23 to 50 % of the seconds.
"""
USUAL_EVERY, MOST_EVERY = 10, 50
"""Smallest and largest default number of steps between two evaluations."""
EVALUATION_SHARE, LEAST_EVALUATIONS = 0.1, 10
"""Share of the training time for evaluations; a run has at least ``LEAST_EVALUATIONS`` even if they take more."""
FORWARD_COST = 0.75
"""Time to predict a row, relative to a row of a training step: the highest of the three minis on the CPU, TabDPT's."""
USUAL_PATIENCE, LEAST_PATIENCE = 8, 4
"""Default and smallest patience, in evaluations."""


def _named(name: str) -> Callable[[object], str]:
    return lambda _: name


def update_scaling(rank: int, alpha: float, *, use_rslora: bool) -> float:
    """Returns the factor in front of B A: ``alpha / r``, or ``alpha / sqrt(r)`` with rsLoRA (arXiv 2312.03732)."""
    return alpha / (math.sqrt(rank) if use_rslora else rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Size, strength and place of a LoRA adapter (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = setting(8, "Rank", low=1, hint="Start with 8.", argument="r", column=True)
    """Rank r of the update, the width of its factors A and B. The adapter size grows in proportion."""
    alpha: float | None = setting(None, "Alpha", above=0, hint=ALPHA, argument="lora_alpha", column=True)
    """The update is scaled by alpha / rank. Default: twice the rank."""
    dropout: float = setting(0.05, "Dropout", low=0, below=1, hint=DROPOUT, argument="lora_dropout", column=True)
    """Dropout probability on the adapter's input during training. On a CPU it makes a step a tenth longer."""
    targets: tuple[str, ...] = setting((), "Target modules", argument="target_modules", column=True)
    """Modules of the model that get an adapter, by name, path prefix or group. Default: the model's own list."""
    use_rslora: bool = setting(
        False, "Scale by alpha / square root of the rank (rsLoRA)", "Adapter", written=_named("rsLoRA")
    )
    """Scale by alpha / sqrt(rank), so that high ranks learn as fast as low ones; set one alpha for all ranks then."""
    use_dora: bool = setting(False, "Train lengths beside directions (DoRA)", "Adapter", column=True)
    """Train the length of each row of a weight beside its direction (DoRA); slower."""
    bias: Bias = setting("none", "Biases that train", "Adapter", written="bias {}".format)
    """Biases of the base that train and are saved too: none, all, or those of the adapted layers (lora_only)."""
    init_lora_weights: Start = setting("default", "Start of A and B", "Adapter", column=True)
    """Start of A and B: random and zero, or each weight's principal singular vectors (pissa, a file twice as large)."""
    rank_pattern: Mapping[str, int] = setting(
        {}, "Other ranks", "Adapter", low=1, placeholder="decoder = 4", written=_named("rank pattern")
    )
    """Ranks of some layers, by path, prefix, name in the path or group, such as decoder=4; the first match is used."""
    alpha_pattern: Mapping[str, float] = setting(
        {}, "Other alphas", "Adapter", above=0, hint=ALPHA, placeholder="decoder = 8", written=_named("alpha pattern")
    )
    """Alphas of some layers, named as in the rank pattern; others have the alpha above, or twice their own rank."""
    _section: ClassVar[str] = "lora"
    _strategies: ClassVar[tuple[Strategy, ...]] = LORA

    def __post_init__(self) -> None:
        check(self)
        both = f"lora.use_dora and lora.init_lora_weights = {self.init_lora_weights!r} are two variants of LoRA"
        require(not self.use_dora or self.init_lora_weights == "default", f"{both}; choose one of them.")

    @property
    def effective_alpha(self) -> float:
        """Alpha as used: the set value, or twice the rank."""
        return 2.0 * self.rank if self.alpha is None else float(self.alpha)

    @property
    def variant(self) -> str:
        """The variant's name in ``tabtune_core.variants.VARIANTS``."""
        start = "lora" if self.init_lora_weights == "default" else self.init_lora_weights
        return "dora" if self.use_dora else start

    @property
    def scaling(self) -> float:
        """Factor in front of B A."""
        return update_scaling(self.rank, self.effective_alpha, use_rslora=self.use_rslora)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Length and speed of training. A step is one optimizer step on one episode."""

    steps: int | None = setting(None, "Steps", low=1, step=10)
    """Number of optimizer steps. If set, it replaces the number of epochs."""
    epochs: int = setting(30, "Epochs", low=1, hint=NO_TRAINING, replaced_by="steps", step=5)
    """Passes over the training rows. One pass takes (training rows / query rows per step) steps."""
    learning_rate: float | None = setting(None, "Learning rate", above=0, high=1, hint=USUAL_RATE, column=True)
    """Peak learning rate. Default: the one measured for the model, or else 2e-4 for LoRA, 2e-5 for all weights."""
    context_rows: int = setting(USUAL_CONTEXT_ROWS, "Context rows while training", "Training", low=10, step=128)
    """Maximum number of context rows in a training step. It is the setting that changes training memory most."""
    batch_size: int = setting(256, "Query rows per step (batch size)", "Training", low=1, step=32)
    """Rows that a step predicts from its context rows. At most a quarter of the training rows are used."""
    predict_context_rows: int | None = setting(
        None,
        "Context rows at prediction",
        "Training",
        low=10,
        strategies=MODELS,
        step=1024,
        placeholder=FIT,
        written=ROWS,
    )
    """Most context rows at prediction. Default: all training rows, as far as model, memory and time allow."""
    lr_ratio: float = setting(
        1.0, "Rate of B against A (LoRA+)", "Adapter", above=0, hint=PLAIN, strategies=LORA, written="LoRA+ {:g}".format
    )
    """LoRA+ (Hayou et al. 2024, arXiv 2402.12354): rate of the factors B divided by that of A; the paper advises 16."""
    optimizer: Optimizer = setting("adamw", "Optimizer", "Optimizer", written=str)
    """AdamW, Adam (weight decay is added to the gradient), or SGD with momentum 0.9, which needs a far higher rate."""
    class_weights: ClassWeights = setting(
        "none", "Class weights of the loss", "Optimizer", idle=WITHOUT_CLASSES, written="class weights {}".format
    )
    """Weight of a row in the loss: equal, or balanced by the size of its class, for which rank by balanced accuracy."""
    weight_decay: float = setting(0.01, "Weight decay", "Optimizer", low=0, high=1, step=0.01)
    """Weight decay: in each step the trained weights shrink by this factor times the learning rate."""
    clip_norm: float = setting(1.0, "Gradient clipping (0: none)", "Optimizer", low=0, hint=CLIPPING, step=0.1)
    """Maximum gradient norm: larger gradients are scaled down to it. 0 turns clipping off."""
    schedule: Schedule = setting("cosine", "Schedule after the warm-up", "Optimizer", written=str)
    """Learning rate schedule after the warm-up: cosine decay to 0, linear decay to 0, or constant."""
    warmup_ratio: float = setting(
        0.1, "Warm-up (share of steps)", "Optimizer", low=0, high=1, replaced_by="warmup_steps", step=0.05
    )
    """Share of the steps over which the learning rate rises from 0 to its peak."""
    warmup_steps: int | None = setting(
        None, "Warm-up (steps)", "Optimizer", low=0, step=10, placeholder="from the share"
    )
    """Number of warm-up steps. If set, it replaces the share."""
    betas: tuple[float, float] = setting(
        (0.9, 0.999), "Beta", "Optimizer", low=0, below=1, hint=BETAS, idle=WITHOUT_MOMENTS, step=0.001
    )
    """Exponential decay rates of Adam and AdamW for the first and second moment of the gradient."""
    eps: float = setting(1e-8, "Epsilon", "Optimizer", above=0, high=1, idle=WITHOUT_MOMENTS, step=1e-8, format="%.0e")
    """Small constant in Adam and AdamW that prevents division by zero."""
    amp: Amp = setting("off", "Mixed precision, 16-bit (CUDA GPU only)", "Memory and time", written=str)
    """Mixed-precision training on a CUDA GPU: bf16, or fp16 with loss scaling. Scores are always computed in fp32."""
    views: int = setting(
        1, "Ensemble size", "Memory and time", low=1, high=MOST_VIEWS, hint=VIEWS, strategies=MODELS, written=ENSEMBLE
    )
    """Predictions are averaged over this many random column and class orders; their time grows in proportion."""
    time_limit: float | None = setting(
        None, "Time limit of a run (s)", "Memory and time", above=0, hint=SECONDS, step=60, placeholder="none"
    )
    """Training seconds, evaluations and reused results included, after which a run ends as if at its last step."""
    episode_set: int = setting(0, "Distinct episodes (0: a new one each step)", "Memory and time", low=0, hint=EPISODES)
    """Number of distinct episodes to cycle through, so that frozen layers run once for each and are cached (2 GB)."""
    gradient_checkpointing: bool = setting(False, "Gradient checkpointing (recompute activations)", "Memory and time")
    """Activations are recomputed in the backward pass: the same result with less memory and more time."""
    selection_metric: str | None = setting(None, "Selection metric", column=True)
    """The validation score that decides early stopping, checkpoint and ranking. Default: log-loss or RMSE."""
    eval_every: int | None = setting(
        None, "Steps between evaluations", "Best checkpoint", low=1, placeholder="by the rows"
    )
    """Steps between two evaluations on the validation rows. Default: 10, up to 50 where evaluations take long."""
    patience: int | None = setting(
        None, "Patience (0: never stop)", "Best checkpoint", low=0, hint=PATIENCE, placeholder="8 or fewer"
    )
    """Evaluations without a better score that end training; 0: none. Default: 8, or those in 80 steps, at least 4."""
    validation_rows: int = setting(2000, "Maximum validation rows", "Rows, weights", low=10, strategies=ALL, step=500)
    """Maximum number of validation rows. If the share holds more, a stratified sample is scored."""
    test_rows: int = setting(
        10000, "Maximum test rows", "Rows, weights", low=10, strategies=ALL, argument=None, step=1000
    )
    """Maximum number of test rows. If the share holds more, a stratified sample is scored."""
    _section: ClassVar[str] = "train"
    _strategies: ClassVar[tuple[Strategy, ...]] = TRAINED

    def __post_init__(self) -> None:
        check(self)
        unknown = f"train.selection_metric is {self.selection_metric!r}; known are {', '.join(METRICS)}."
        require(self.selection_metric in (None, *METRICS), unknown)

    def warmup_steps_of(self, steps: int) -> int:
        """Returns the warm-up steps of a run of ``steps`` steps; they may exceed the run."""
        return round(self.warmup_ratio * steps) if self.warmup_steps is None else self.warmup_steps

    def eval_every_of(self, steps: int, *, shown: int, evaluated: int) -> int:
        """Returns the steps between two evaluations in a run of ``steps`` steps.

        ``shown`` are the rows of a training step, ``evaluated`` those of an evaluation.

        >>> [TrainSettings().eval_every_of(400, shown=768, evaluated=rows) for rows in (800, 3048, 4048)]
        [10, 27, 36]
        """
        if self.eval_every is not None:
            return self.eval_every
        cost = FORWARD_COST * self.views * evaluated / shown  # in steps
        most = min(math.ceil(cost * (1 / EVALUATION_SHARE - 1)), steps // LEAST_EVALUATIONS, MOST_EVERY)
        return max(USUAL_EVERY, most)

    def patience_of(self, eval_every: int) -> int:
        """Returns the number of evaluations without a better score after which training stops; 0 never stops.

        >>> TrainSettings().patience_of(10), TrainSettings().patience_of(16)
        (8, 5)
        """
        if self.patience is not None:
            return self.patience
        fitting = max(LEAST_PATIENCE, round(USUAL_PATIENCE * USUAL_EVERY / eval_every))
        return fitting if self.eval_every is None else USUAL_PATIENCE

"""What can be turned: how an adapter is made, and how it is trained.

In: numbers, choices and names. Out: frozen dataclasses that the rest trusts. The docstring under each field is the widget's tooltip and the
command line's help.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tabtune_core.metrics import METRICS
from tabtune_core.settings.validation import changed, check_kinds, check_number, check_whole, require

Bias = Literal["none", "all", "lora_only"]
Start = Literal["default", "pissa"]
Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "linear", "constant"]
ClassWeights = Literal["none", "balanced"]
Amp = Literal["off", "bf16", "fp16"]
MOST_VIEWS = 64
"""Of an ensemble; more would keep the machine busy, not predict better. A package from elsewhere is held to it too."""
LORA_ONLY = ("lr_ratio", "rate_scales_with_rank")
ADAM_ONLY = ("betas", "eps")
"""Train settings that the other strategies, and the optimizer 'sgd', have no use for."""


USUAL_CONTEXT_ROWS = 512
"""Shown in a training step. Measured with TabICL mini, rank 8, one seed, on banana, segment and titanic (``rows_shown.py`` among the
benchmarks), with all training rows shown at prediction: test log-loss after training with 256 rows shown was 0.008 higher than with 2,048
(mean; 0.007 to 0.010; on chess 0.027, on marketing 0.022), with 512 rows 0.004 (-0.009 to 0.015), where zero-shot was 0.060 higher. With
512 rows training took 23 to 50 % of the seconds and 40 to 59 % of the memory."""
USUAL_EVERY, MOST_EVERY = 10, 50
"""Steps between two evaluations, where nobody says."""
EVALUATION_SHARE, LEAST_EVALUATIONS = 0.1, 10
"""Of the training time, which matters less than that a run has so many."""
FORWARD_COST = 0.75
"""Of a row that is only predicted, where one of a training step is 1: the dearest of the three minis on the CPU, TabDPT."""
USUAL_PATIENCE, LEAST_PATIENCE = 8, 4
"""Evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """How strongly, and where, a frozen model may change (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = 8
    """Rank r of the update, the width of its factors A and B. The adapter size grows in proportion."""
    alpha: float | None = None
    """The update is scaled by alpha / rank. Default: twice the rank."""
    dropout: float = 0.05
    """Dropout probability on the adapter's input during training; use more on small tables. On a CPU it makes a step a tenth longer."""
    targets: tuple[str, ...] = ()
    """Target modules: which modules of the model get an adapter, by name, path prefix or group. Default: the model's own list."""
    bias: Bias = "none"
    """Biases of the base that train too: none, all, or those of the adapted layers (lora_only). They are saved with the adapter."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank), so that high ranks learn as fast as low ones; set alpha to one number for all ranks then."""
    use_dora: bool = False
    """Train the length of each row of a weight beside its direction (DoRA): a little better at low ranks, and slower."""
    init_lora_weights: Start = "default"
    """Where A and B start: at random and zero (default), or as the principal singular vectors of each weight, which then train in their
    place (pissa). PiSSA keeps a frozen copy of its start, so that the adapter's file is twice as large; it may need a lower learning
    rate."""
    rank_pattern: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Other ranks for some layers, by path, prefix, name in the path or group, for example decoder=4; the first that fits counts."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Other alphas for some layers, named as in the rank pattern; without one, alpha is the same for all or twice each rank."""

    def __post_init__(self) -> None:
        check_kinds(self, "lora.")
        for name, rank in self.rank_pattern.items():
            check_whole(f"lora.rank_pattern.{name}", rank, 1)
        for name, alpha in self.alpha_pattern.items():
            check_number(f"lora.alpha_pattern.{name}", alpha, 0, math.inf, "Twice the rank is usual.", low_open=True)
        check_whole("lora.rank", self.rank, 1, "Start with 8.")
        if self.alpha is not None:
            check_number(
                "lora.alpha", self.alpha, 0, math.inf, "With 0 the adapter would do nothing; twice the rank is usual.", low_open=True
            )
        both = f"lora.use_dora and lora.init_lora_weights = {self.init_lora_weights!r} are two variants of LoRA; choose one of them."
        require(not self.use_dora or self.init_lora_weights == "default", both)
        check_number("lora.dropout", self.dropout, 0, 1, "With 1 nothing would reach the adapter; 0.05 is usual.", high_open=True)

    @property
    def effective_alpha(self) -> float:
        """Alpha as used: the set value, or twice the rank."""
        return 2.0 * self.rank if self.alpha is None else float(self.alpha)

    @property
    def variant(self) -> str:
        """What the update is, by its name in ``tabtune_core.variants``."""
        start = "lora" if self.init_lora_weights == "default" else self.init_lora_weights
        return "dora" if self.use_dora else start

    @property
    def scaling(self) -> float:
        """Factor in front of B A: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
        return self.effective_alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """Length and speed of training. A step is one optimizer step on one episode."""

    steps: int | None = None
    """Number of optimizer steps. If set, it replaces the number of epochs."""
    epochs: int = 30
    """Passes over the training rows. One pass takes (training rows / query rows per step) steps."""
    time_limit: float | None = None
    """Training time in seconds, evaluations included, after which a run ends as if at its last step. Default: no limit. Cached results of
    an earlier run count at the time that they took then. The learning rate follows the planned steps, so it has not decayed to 0 when the
    limit ends a run."""
    learning_rate: float | None = None
    """Peak learning rate. Default: 2e-4 for LoRA and 2e-5 for full fine-tuning. In a sweep it applies to the LoRA runs only."""
    rate_scales_with_rank: bool = False
    """Multiply the rate by the root of 8 / rank: with alpha = 2 x rank the best rate falls about so, and one rate favours small ranks."""
    lr_ratio: float = 1.0
    """LoRA+ (Hayou et al. 2024, arXiv 2402.12354): the factors B learn at so many times the rate of A. They advise 16."""
    optimizer: Optimizer = "adamw"
    """AdamW, Adam (weight decay is added to the gradient), or SGD with momentum 0.9, which needs a far higher learning rate."""
    batch_size: int = 256
    """Query rows per step: the rows that the model must predict from the context rows. At most a quarter of the training rows are used."""
    context_rows: int = USUAL_CONTEXT_ROWS
    """Maximum number of context rows in a training step. It is the setting that changes training memory most."""
    predict_context_rows: int | None = None
    """Maximum number of context rows at prediction. Default: all training rows, up to what the model accepts and the memory holds."""
    episode_set: int = 0
    """Number of distinct training episodes to cycle through. With a fixed set, frozen layers run once per episode and are cached (up to
    2 GB). 0 draws a new episode every step."""
    views: int = 1
    """Ensemble size: predictions are averaged over this many random column and class orders. Prediction time grows in proportion."""
    validation_rows: int = 2000
    """Maximum number of validation rows. If the share holds more, a stratified sample is scored."""
    test_rows: int = 10000
    """Maximum number of test rows. If the share holds more, a stratified sample is scored."""
    weight_decay: float = 0.01
    """Weight decay: in each step the trained weights shrink by this factor times the learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Exponential decay rates of Adam and AdamW for the first and second moment of the gradient."""
    eps: float = 1e-8
    """Small constant in Adam and AdamW that prevents division by zero."""
    class_weights: ClassWeights = "none"
    """Weight of a row in the training loss: equal (none), or inversely proportional to the size of its class (balanced). Balanced weights
    predict rare classes more often. The probabilities become those of a table with equally large classes, so log-loss may get worse and
    the pretrained weights may be kept: choose balanced accuracy or average precision as the selection metric."""
    schedule: Schedule = "cosine"
    """Learning rate schedule after the warm-up: cosine decay to 0, linear decay to 0, or constant."""
    warmup_ratio: float = 0.1
    """Share of the steps over which the learning rate rises from 0 to its peak."""
    warmup_steps: int | None = None
    """Number of warm-up steps. If set, it replaces the share."""
    clip_norm: float = 1.0
    """Maximum gradient norm: larger gradients are scaled down to it. 0 turns clipping off."""
    amp: Amp = "off"
    """Mixed-precision training (autocast) on a CUDA GPU: bf16, or fp16 with loss scaling. Scores are always computed in fp32."""
    gradient_checkpointing: bool = False
    """Gradient checkpointing: activations are recomputed in the backward pass. The result is the same, with less memory and more time.
    On the CPU, large blocks of memory are also returned to the system at once."""
    cuda_graph: bool = False
    """Capture the training step once as a CUDA graph and replay it. The result is the same, in less time where the GPU waits for Python, as
    with small tables. For TabICL on a CUDA GPU. If a run cannot be captured, a notice says why and it trains without the graph."""
    eval_every: int | None = None
    """Number of steps between two evaluations on the validation rows. Default: 10; up to 50 where an evaluation shows many more rows than
    a step, so that evaluations take about a tenth of the training time. A run has at least ten, or one every 10 steps."""
    patience: int | None = None
    """Early stopping: training ends after this many evaluations without a better score. Default: 8, or as many as fit into 80 steps, at
    least 4, where evaluations are further apart by default. 0 turns early stopping off."""
    selection_metric: str | None = None
    """The validation score that decides early stopping, the best checkpoint and the ranking. Default: log-loss or RMSE."""

    def __post_init__(self) -> None:
        check_kinds(self, "train.")
        if self.steps is not None:
            check_whole("train.steps", self.steps, 1)
        check_whole("train.epochs", self.epochs, 1, "For no training at all, choose the strategy 'inference' (zero-shot).")
        if self.time_limit is not None:
            check_number("train.time_limit", self.time_limit, 0, math.inf, "It is in seconds; leave it out for no limit.", low_open=True)
        if self.learning_rate is not None:
            check_number(
                "train.learning_rate", self.learning_rate, 0, 1, "2e-4 is usual for LoRA, 2e-5 for full fine-tuning.", low_open=True
            )
        check_number("train.lr_ratio", self.lr_ratio, 0, math.inf, "1 is plain LoRA.", low_open=True)
        check_whole("train.batch_size", self.batch_size, 1)
        check_whole("train.context_rows", self.context_rows, 10)
        if self.predict_context_rows is not None:
            check_whole("train.predict_context_rows", self.predict_context_rows, 10)
        check_whole("train.episode_set", self.episode_set, 0, "0 draws a fresh episode at every step.")
        usual = "4 is usual where a little more accuracy is worth four times the time."
        check_whole("train.views", self.views, 1, usual)
        require(self.views <= MOST_VIEWS, f"train.views is {self.views}; it must be at most {MOST_VIEWS}. {usual}")
        check_whole("train.validation_rows", self.validation_rows, 10)
        check_whole("train.test_rows", self.test_rows, 10)
        check_number("train.weight_decay", self.weight_decay, 0, 1, "0.01 is usual.")
        require(len(self.betas) == 2, f"train.betas has {len(self.betas)} values; it takes two, for example 0.9 and 0.999.")
        for beta in self.betas:
            check_number("train.betas", beta, 0, 1, "0.9 and 0.999 are usual.", high_open=True)
        check_number("train.eps", self.eps, 0, 1, "1e-8 is usual.", low_open=True)
        for name in changed(self, ADAM_ONLY):
            require(self.optimizer != "sgd", f"train.{name} changes nothing with the optimizer 'sgd'; leave it out, or choose 'adamw'.")
        check_number("train.warmup_ratio", self.warmup_ratio, 0, 1, "0.1 is usual.")
        if self.warmup_steps is not None:
            check_whole("train.warmup_steps", self.warmup_steps, 0)
        check_number("train.clip_norm", self.clip_norm, 0, math.inf, "1 is usual, 0 is no clipping.")
        if self.eval_every is not None:
            check_whole("train.eval_every", self.eval_every, 1)
        if self.patience is not None:
            check_whole("train.patience", self.patience, 0, "0 never stops early.")
        known = ", ".join(METRICS)
        require(self.selection_metric in (None, *METRICS), f"train.selection_metric is {self.selection_metric!r}; known are {known}.")

    def warmup_steps_of(self, steps: int) -> int:
        """Warm-up of a run of so many steps, as asked for: it may be longer than the run."""
        return round(self.warmup_ratio * steps) if self.warmup_steps is None else self.warmup_steps

    def eval_every_of(self, steps: int, *, shown: int, evaluated: int) -> int:
        """Steps between two evaluations in a run of so many, whose step shows ``shown`` rows and whose evaluation ``evaluated``.

        >>> [TrainSettings().eval_every_of(400, shown=768, evaluated=rows) for rows in (800, 3048, 4048)]
        [10, 27, 36]
        """
        if self.eval_every is not None:
            return self.eval_every
        cost = FORWARD_COST * self.views * evaluated / shown  # in steps
        return max(USUAL_EVERY, min(math.ceil(cost * (1 / EVALUATION_SHARE - 1)), steps // LEAST_EVALUATIONS, MOST_EVERY))

    def patience_of(self, eval_every: int) -> int:
        """Evaluations without a better score before training stops; 0 is for ever.

        >>> TrainSettings().patience_of(10), TrainSettings().patience_of(16), TrainSettings(eval_every=16).patience_of(16)
        (8, 5, 8)
        """
        if self.patience is not None:
            return self.patience
        return USUAL_PATIENCE if self.eval_every is not None else max(LEAST_PATIENCE, round(USUAL_PATIENCE * USUAL_EVERY / eval_every))

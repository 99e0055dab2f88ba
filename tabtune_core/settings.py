"""Everything a person can set, documented field by field and checked once.

In: a form, a TOML file, the command line or keyword arguments. Out: frozen dataclasses that the rest trusts.
The docstring under each field is the widget's tooltip and the command line's help.
"""

import dataclasses
import difflib
import functools
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import tomli_w

from tabtune_core.errors import SettingError
from tabtune_core.metrics import METRICS, SELECTION, Task, metrics_of

Strategy = Literal["inference", "base-ft", "peft"]
STRATEGY_NAMES: dict[Strategy, str] = {"inference": "Zero-shot", "base-ft": "Full fine-tuning", "peft": "LoRA"}
Bias = Literal["none", "all", "lora_only"]
LEARNING_RATES: dict[Strategy, float] = {"inference": 0.0, "base-ft": 2e-5, "peft": 2e-4}
"""The guide's section 6.2: an adapter wants about ten times the rate of the full model."""
USUAL_RANK = 8
"""The rank that these rates are for; see ``rate_scales_with_rank``."""
Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "linear", "constant"]
Amp = Literal["off", "bf16", "fp16"]
LORA_ONLY = ("lr_ratio", "rate_scales_with_rank")
ADAM_ONLY = ("betas", "eps")
"""Train settings that the other strategies, and the optimizer 'sgd', have no use for."""


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise SettingError(message)


def _number(name: str, value: object, low: float, high: float, hint: str, *, low_open: bool = False, high_open: bool = False) -> None:
    inside = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (value > low if low_open else value >= low)
        and (value < high if high_open else value <= high)
    )
    bounds = f"{'above' if low_open else 'at least'} {low:g}"
    if math.isfinite(high):
        bounds += f" and {'below' if high_open else 'at most'} {high:g}"
    _require(inside, f"{name} is {value!r}; it must be {bounds}. {hint}".rstrip())


@functools.cache
def _hints(settings: Any) -> dict[str, Any]:
    """Worked out once: a workspace of a thousand runs reads three thousand of these."""
    return get_type_hints(settings)


def _check_kinds(settings: Any, section: str) -> None:
    """Refuses what is no text, choice, switch or list where one is wanted; numbers are checked one by one, with their bounds."""
    kind: Any = type(settings)
    for name, hint in _hints(kind).items():
        if name.startswith("_"):
            continue
        value = getattr(settings, name)
        if value is None and type(None) in get_args(hint):
            continue
        if hint in (str, str | None):
            _require(isinstance(value, str), f"{section}{name} is {value!r}; it must be text.")
        elif get_origin(hint) is Literal:
            choices = get_args(hint)
            _require(value in choices, f"{section}{name} is {value!r}; it must be one of {', '.join(choices)}.")
        elif hint is bool:
            _require(isinstance(value, bool), f"{section}{name} is {value!r}; it must be true or false.")
        elif get_origin(hint) is tuple:
            _require(isinstance(value, list | tuple), f"{section}{name} is {value!r}; it must be a list, for example [{value!r}].")
            if get_args(hint)[0] is str:
                _require(all(isinstance(part, str) for part in value), f"{section}{name} is {value!r}; it must be a list of texts.")
            object.__setattr__(settings, name, tuple(value))
        elif get_origin(hint) is Mapping:
            named = isinstance(value, Mapping) and all(isinstance(part, str) and part for part in value)
            _require(named, f"{section}{name} is {value!r}; it must give a number to each name, for example {{'decoder': 4}}.")
            object.__setattr__(settings, name, dict(value))


def _whole(name: str, value: object, low: int, hint: str = "") -> None:
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= low
    _require(ok, f"{name} is {value!r}; it must be a whole number of at least {low}. {hint}".rstrip())


def _changed(settings: Any, names: tuple[str, ...]) -> list[str]:
    """Those of the fields that are not at their default."""
    return [f.name for f in dataclasses.fields(settings) if f.name in names and getattr(settings, f.name) != f.default]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """How strongly, and where, a frozen model may change (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = 8
    """Width r of the two factors A and B; the adapter grows linearly with it."""
    alpha: float | None = None
    """Strength of the update, which is scaled by alpha / rank; twice the rank unless set."""
    dropout: float = 0.05
    """Share of the adapter's input that is dropped while training; more for small tables."""
    targets: tuple[str, ...] = ()
    """Parts of the model to adapt, by name, path prefix or group; the model's own list unless set."""
    bias: Bias = "none"
    """Biases of the base that train too: none, all, or those of the adapted layers (lora_only). They are saved with the adapter."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(rank), so that high ranks learn as fast as low ones; set alpha to one number for all ranks then."""
    use_dora: bool = False
    """Train the length of each row of a weight beside its direction (DoRA): a little better at low ranks, and slower."""
    rank_pattern: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Other ranks for some layers, by path, prefix, name in the path or group, for example decoder=4; the first that fits counts."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Other alphas for some layers, named as in the rank pattern; without one, alpha is the same for all or twice each rank."""

    def __post_init__(self) -> None:
        _check_kinds(self, "lora.")
        for name, rank in self.rank_pattern.items():
            _whole(f"lora.rank_pattern.{name}", rank, 1)
        for name, alpha in self.alpha_pattern.items():
            _number(f"lora.alpha_pattern.{name}", alpha, 0, math.inf, "Twice the rank is usual.", low_open=True)
        _whole("lora.rank", self.rank, 1, "Start with 8.")
        if self.alpha is not None:
            _number("lora.alpha", self.alpha, 0, math.inf, "With 0 the adapter would do nothing; twice the rank is usual.", low_open=True)
        _number("lora.dropout", self.dropout, 0, 1, "With 1 nothing would reach the adapter; 0.05 is usual.", high_open=True)

    @property
    def effective_alpha(self) -> float:
        """Alpha as used: the set value, or twice the rank."""
        return 2.0 * self.rank if self.alpha is None else float(self.alpha)

    @property
    def scaling(self) -> float:
        """Factor in front of B A: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
        return self.effective_alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How long and how fast to train. A step is one optimizer step on one episode."""

    steps: int | None = None
    """Optimizer steps; used instead of epochs when set."""
    epochs: int = 30
    """Passes over the training rows; one pass is (training rows / query rows a step) steps."""
    learning_rate: float | None = None
    """Peak rate; 2e-4 for LoRA and 2e-5 for full fine-tuning unless set. A sweep applies it to its LoRA runs alone."""
    rate_scales_with_rank: bool = False
    """Multiply the rate by the root of 8 / rank: with alpha = 2 x rank the best rate falls about so, and one rate favours small ranks."""
    lr_ratio: float = 1.0
    """LoRA+ (Hayou et al. 2024, arXiv 2402.12354): the factors B learn at so many times the rate of A. They advise 16."""
    optimizer: Optimizer = "adamw"
    """AdamW; Adam, whose weight decay is part of the gradient; or SGD with momentum 0.9, which wants a far higher rate."""
    batch_size: int = 256
    """Query rows a step: rows the model must predict from the others. Held to a quarter of the training rows."""
    context_rows: int = 2048
    """Most rows shown to the model as context, while training and at prediction. The lever on memory."""
    views: int = 1
    """Predictions are averaged over so many views of the table, its columns and classes in another order in each; costs as many times."""
    validation_rows: int = 2000
    """Most validation rows; of a larger share a stratified sample is scored."""
    test_rows: int = 10000
    """Most test rows; of a larger share a stratified sample is scored."""
    weight_decay: float = 0.01
    """How much the trained weights shrink, times the rate, at every step."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam and AdamW for the two moments of the gradient."""
    eps: float = 1e-8
    """Term of Adam and AdamW against division by zero."""
    schedule: Schedule = "cosine"
    """How the rate goes on after the warm-up: down to 0 along half a cosine or a line, or constant."""
    warmup_ratio: float = 0.1
    """Share of the steps during which the rate rises from 0."""
    warmup_steps: int | None = None
    """Steps during which the rate rises; used instead of the share when set."""
    clip_norm: float = 1.0
    """Gradients longer than this are shortened to it; 0 leaves them as they are."""
    amp: Amp = "off"
    """Train in 16-bit numbers (autocast) on a CUDA card: bf16 needs no scaling, fp16 comes with it. Scores are always computed in fp32."""
    gradient_checkpointing: bool = False
    """Compute the activations of the model's blocks again in the backward pass: the same result in less memory and more time."""
    eval_every: int = 10
    """Steps between two looks at the validation rows."""
    patience: int = 8
    """Looks at the validation rows without a better score before training stops early; 0 never stops early."""
    selection_metric: str | None = None
    """The validation score that decides early stopping, the best state and the ranking; log-loss or RMSE unless set."""

    def __post_init__(self) -> None:
        _check_kinds(self, "train.")
        if self.steps is not None:
            _whole("train.steps", self.steps, 1)
        _whole("train.epochs", self.epochs, 1, "For no training at all, choose the strategy 'inference' (zero-shot).")
        if self.learning_rate is not None:
            _number("train.learning_rate", self.learning_rate, 0, 1, "2e-4 is usual for LoRA, 2e-5 for full fine-tuning.", low_open=True)
        _number("train.lr_ratio", self.lr_ratio, 0, math.inf, "1 is plain LoRA.", low_open=True)
        _whole("train.batch_size", self.batch_size, 1)
        _whole("train.context_rows", self.context_rows, 10)
        _whole("train.views", self.views, 1, "4 is usual where a little more accuracy is worth four times the time.")
        _whole("train.validation_rows", self.validation_rows, 10)
        _whole("train.test_rows", self.test_rows, 10)
        _number("train.weight_decay", self.weight_decay, 0, 1, "0.01 is usual.")
        _require(len(self.betas) == 2, f"train.betas has {len(self.betas)} values; it takes two, for example 0.9 and 0.999.")
        for beta in self.betas:
            _number("train.betas", beta, 0, 1, "0.9 and 0.999 are usual.", high_open=True)
        _number("train.eps", self.eps, 0, 1, "1e-8 is usual.", low_open=True)
        for name in _changed(self, ADAM_ONLY):
            _require(self.optimizer != "sgd", f"train.{name} changes nothing with the optimizer 'sgd'; leave it out, or choose 'adamw'.")
        _number("train.warmup_ratio", self.warmup_ratio, 0, 1, "0.1 is usual.")
        if self.warmup_steps is not None:
            _whole("train.warmup_steps", self.warmup_steps, 0)
        _number("train.clip_norm", self.clip_norm, 0, math.inf, "1 is usual, 0 is no clipping.")
        _whole("train.eval_every", self.eval_every, 1)
        _whole("train.patience", self.patience, 0, "0 never stops early.")
        known = ", ".join(METRICS)
        _require(self.selection_metric in (None, *METRICS), f"train.selection_metric is {self.selection_metric!r}; known are {known}.")

    def warmup_steps_of(self, steps: int) -> int:
        """Warm-up of a run of so many steps, as asked for: it may be longer than the run."""
        return round(self.warmup_ratio * steps) if self.warmup_steps is None else self.warmup_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """One run: which rows, which model, what may change."""

    dataset: str
    """Id of the table in the workspace (a hash of its content)."""
    target: str
    """Column to predict."""
    task: Task = "classification"
    """'classification' predicts classes, 'regression' numbers on a scale."""
    model: str = "tabicl-mini"
    """Base model, by its name in the catalogue."""
    checkpoint: str | None = None
    """Path of a weights file to use instead of the model's own."""
    strategy: Strategy = "peft"
    """'inference' is zero-shot, 'base-ft' trains every weight, 'peft' trains a LoRA adapter."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    seed: int = 0
    """Moves the split, the adapter's start and the episodes. Runs that share a seed share split and episodes."""
    device: str = "auto"
    """'auto' is the first CUDA card, else the CPU; 'cpu', 'cuda' and 'cuda:1' are taken at their word."""
    validation_share: float = 0.2
    """Share of the rows that chooses the best state and ranks the runs."""
    test_share: float = 0.2
    """Share of the rows that is only reported."""
    split_at_median: bool = False
    """Turn a numeric target into two classes, up to its median and above."""
    _sections: ClassVar[dict[str, type]] = {"lora": LoraSettings, "train": TrainSettings}

    def __post_init__(self) -> None:
        _check_kinds(self, "")
        _require(bool(self.dataset), "dataset is empty; add a table first.")
        _require(bool(self.target), "target is empty; name the column to predict.")
        halves = self.split_at_median and self.task == "regression"
        _require(not halves, "split_at_median makes two classes of the target, so the task must be 'classification', not 'regression'.")
        metric, fitting = self.train.selection_metric, metrics_of(self.task)
        _require(
            metric in (None, *fitting), f"train.selection_metric is {metric!r}; for {self.task} it must be one of {', '.join(fitting)}."
        )
        for name in _changed(self.train, LORA_ONLY):
            useless = f"train.{name} changes nothing with the strategy {self.strategy!r}; leave it out, or choose 'peft'."
            _require(self.strategy == "peft", useless)
        _whole("seed", self.seed, 0)
        _require(self.seed < 2**32, f"seed is {self.seed}; it must be below {2**32}.")
        _number("validation_share", self.validation_share, 0.05, 0.5, "0.2 is usual.")
        _number("test_share", self.test_share, 0.05, 0.5, "0.2 is usual.")

    @property
    def base_rate(self) -> float:
        """The peak rate as set, or the strategy's own."""
        return LEARNING_RATES[self.strategy] if self.train.learning_rate is None else self.train.learning_rate

    @property
    def learning_rate(self) -> float:
        """The peak rate as used; with LoRA+, that of the factors A."""
        return self.base_rate * math.sqrt(USUAL_RANK / self.lora.rank) if self.train.rate_scales_with_rank else self.base_rate

    @property
    def selection_metric(self) -> str:
        """The validation score that decides, as used."""
        return self.train.selection_metric or SELECTION[self.task]

    @property
    def variant(self) -> str:
        """What makes the run another one than its rank says, for example ``DoRA, 4 views``; empty where all of that is as usual."""
        lora, train = self.lora, self.train
        said = {f"{train.views} views": train.views > 1}
        if self.strategy != "inference":
            said |= {train.optimizer: train.optimizer != "adamw", train.schedule: train.schedule != "cosine", train.amp: train.amp != "off"}
        if self.strategy == "peft":
            said |= {
                "DoRA": lora.use_dora, "rsLoRA": lora.use_rslora, f"bias {lora.bias}": lora.bias != "none",
                "rank pattern": bool(lora.rank_pattern), "alpha pattern": bool(lora.alpha_pattern),
                f"LoRA+ {train.lr_ratio:g}": train.lr_ratio != 1, "rate by rank": train.rate_scales_with_rank,
            }  # fmt: skip
        return ", ".join(name for name, on in said.items() if on)

    @property
    def label(self) -> str:
        """What a chart or a row calls this run, for example ``LoRA r=8 (DoRA)``."""
        name = STRATEGY_NAMES[self.strategy] + (f" r={self.lora.rank}" if self.strategy == "peft" else "")
        return f"{name} ({self.variant})" if self.variant else name

    def to_dict(self) -> dict[str, Any]:
        """Plain values without those that are None, ready for JSON and TOML."""
        return _without_none(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunSettings":
        """Reads plain values; an unknown name is an error that suggests the nearest.

        Raises:
            SettingError: naming the setting, the value and what would do.
        """
        read: RunSettings = _from_dict(cls, values, "")
        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """Several runs that differ in the rank, with the two baselines beside them."""

    run: RunSettings
    """What the runs have in common."""
    ranks: tuple[int, ...] = (2, 4, 8)
    """LoRA ranks to compare."""
    zero_shot: bool = True
    """Add the base model as it is."""
    full_fine_tuning: bool = True
    """Add the training of every weight."""
    seeds: tuple[int, ...] = (0,)
    """Repeat everything under each of these seeds."""
    _sections: ClassVar[dict[str, type]] = {"run": RunSettings}

    def __post_init__(self) -> None:
        _check_kinds(self, "")
        for rank in self.ranks:
            _whole("ranks", rank, 1)
        _require(len(set(self.ranks)) == len(self.ranks), f"ranks {list(self.ranks)} name one rank twice.")
        _require(
            len(self.seeds) > 0 and len(set(self.seeds)) == len(self.seeds), f"seeds {list(self.seeds)} must be one or more, each once."
        )
        _require(bool(self.ranks) or self.zero_shot or self.full_fine_tuning, "Nothing to run: choose a rank or a baseline.")

    def expand(self) -> list[RunSettings]:
        """The single runs, seed by seed, baselines first. A tied alpha (None) follows each rank."""
        runs = []
        for seed in self.seeds:
            common = dataclasses.replace(self.run, seed=seed)
            train = dataclasses.replace(common.train, lr_ratio=1.0, rate_scales_with_rank=False)
            if self.zero_shot:
                runs.append(dataclasses.replace(common, strategy="inference", train=train))
            if self.full_fine_tuning:
                runs.append(dataclasses.replace(common, strategy="base-ft", train=dataclasses.replace(train, learning_rate=None)))
            for rank in self.ranks:
                runs.append(dataclasses.replace(common, strategy="peft", lora=dataclasses.replace(common.lora, rank=rank)))
        return runs

    def to_toml(self) -> str:
        """The whole sweep as a TOML document that ``from_toml`` reads back."""
        return tomli_w.dumps(_without_none(dataclasses.asdict(self)))

    @classmethod
    def from_toml(cls, text: str) -> "SweepSettings":
        """Reads a TOML document.

        Raises:
            SettingError: for text that is not TOML, unknown names and values out of range.
        """
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingError(f"The settings are not TOML: {error}.") from error
        read: SweepSettings = _from_dict(cls, values, "")
        return read


def read_pattern(texts: Iterable[str], number: type[int] | type[float]) -> dict[str, float]:
    """Reads ``decoder=4`` and the like.

    Raises:
        SettingError: for a text of another form.
    """
    pattern = {}
    for text in texts:
        name, _, value = text.strip().rpartition("=")
        try:
            pattern[name.strip()] = number(value)
        except ValueError as error:
            raise SettingError(f"{text.strip()!r} is no layer with its number; write for example decoder=4.") from error
    return pattern


def describe(settings: type, name: str) -> str:
    """The docstring under a field, for help texts. Raises KeyError for a field without one."""
    return _field_docs(settings)[name]


@functools.cache
def _field_docs(settings: type) -> dict[str, str]:
    import ast
    import inspect

    tree = ast.parse(inspect.getsource(settings)).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for item, following in zip(tree.body, tree.body[1:], strict=False):
        match item, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                docs[name] = inspect.cleandoc(str(text))
    return docs


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            plain[name] = _without_none(value)
        elif value is not None:
            plain[name] = list(value) if isinstance(value, tuple) else value
    return plain


def _from_dict(cls: Any, values: Mapping[str, Any], prefix: str) -> Any:
    known = [f.name for f in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{prefix}{near[0]}'?" if near else f"Known are {', '.join(prefix + k for k in known)}."
            raise SettingError(f"Unknown setting '{prefix}{name}'. {hint}")
    sections = getattr(cls, "_sections", {})
    ready = {}
    for name, value in values.items():
        if name in sections:
            _require(isinstance(value, Mapping), f"'{prefix}{name}' is {value!r}; it must be a section of settings.")
            value = _from_dict(sections[name], value, f"{prefix}{name}.")
        ready[name] = value
    missing = [
        f.name for f in dataclasses.fields(cls)
        if f.name not in ready and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    _require(not missing, f"Missing setting {', '.join(repr(prefix + m) for m in missing)}.")
    return cls(**ready)

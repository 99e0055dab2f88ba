"""A model as data: its family, its weights by task, its modules and limits. Loads no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from tabtune_core.errors import CheckpointError, MissingPackageError, SettingError
from tabtune_core.lora.names import TargetRules, bias_of, match_targets, pattern_values
from tabtune_core.metrics import Task
from tabtune_core.settings import LEARNING_RATES, LoraSettings, Strategy
from tabtune_core.settings.labels import short_rate
from tabtune_core.upstream import Licence, Upstream, installed_now
from tabtune_core.variants import VARIANTS

LATE = "late_layers"
"""Name of the last third of a model's main blocks and its head: an adapter there is small, and all before it runs once for each input."""
Shapes = dict[str, tuple[int, int]]
"""``(out, in)`` of weights by their path in the module."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What an architecture is made of, as far as an adapter can reach it."""

    weights: Shapes = field(default_factory=dict)
    """Every weight that LoRA can reach."""
    biases: dict[str, int] = field(default_factory=dict)
    """Length of every bias, norms included, by its path."""

    def linear(self, path: str, out: int, width: int, *, bias: bool = True) -> None:
        """Adds a linear layer."""
        self.weights[f"{path}.weight"] = (out, width)
        if bias:
            self.biases[f"{path}.bias"] = out

    def attention(self, path: str, width: int) -> None:
        """Adds the projections of torch's attention: one packed, one for the output."""
        self.weights[f"{path}.in_proj_weight"] = (3 * width, width)
        self.biases[f"{path}.in_proj_bias"] = 3 * width
        self.linear(f"{path}.out_proj", width, width)

    def norm(self, path: str, width: int) -> None:
        """Adds the bias of a norm."""
        self.biases[f"{path}.bias"] = width


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One checkpoint."""

    file: str
    """Its name in the repository, or below this package's folder of weights."""
    repository: str | None
    """Hugging Face repository it is downloaded from; None: it ships in this package."""
    total_parameters: int
    config: dict[str, Any]
    """Architecture, as the upstream class takes it."""
    sha256: str | None = None
    """Of the file, where it is known."""
    beside: tuple[str, ...] = ()
    """Names of files that must lie in the same folder."""
    by_path: bool = False
    """Whether they are opened by their path alone, since their owner hands them out to those who accept a licence."""

    @property
    def files(self) -> tuple[str, ...]:
        """The file itself, then those beside it."""
        return (self.file, *self.beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the models of one upstream package have in common, and where the code lies that needs it.

    The modules of its folder beside ``family.py``, loaded when they are asked for:

    - ``model``: ``MODEL``, a class that keeps the promises of ``base.BaseModel`` and has ``load``; ``stages(module)``, the order of its
      computation (``stages.Stages``);
    - ``activations``: ``training``, ``predicting``, ``attention`` and ``untrained``, what autograd keeps; loads no torch;
    - ``export``: ``ENDING`` and ``snippet``, how a merged checkpoint is opened with the upstream package; loads no torch.
    """

    name: str
    folder: str
    """Its package below ``tabtune_core.models``."""
    targets: tuple[str, ...]
    """The guide's section 5.2: what LoRA adapts unless targets are given."""
    groups: Mapping[Task, Mapping[str, tuple[str, ...]]]
    """Names that stand for parts whatever the size of the model: those of the guide's section 5.1, and old names of parts that moved."""
    late_blocks: str
    """Path of the list of blocks of which the last third is called late."""
    head: tuple[str, ...]
    """What comes after them."""
    unused: Mapping[Task, tuple[str, ...]]
    """Modules that a task never calls; an adapter there would be dead."""
    passed_over: tuple[str, ...] = ()
    """Modules that LoRA adapts only when they are named: an adapter there would be larger than the weight."""
    block_lists: tuple[str, ...]
    """Paths of the lists of blocks that gradient checkpointing recomputes; empty where the package always does so."""
    layers: Callable[[dict[str, Any], Task], Layers]
    """From the architecture, without what the task never calls."""
    capturable: bool = False
    """Whether a training step of its models runs without decisions on the CPU, so that a CUDA graph can hold it."""
    class_limit: int | None = None
    """Most classes of a table; None: the model splits more into several questions."""
    feature_limit: int | None = None
    context_limit: int | None = None
    """Most context rows."""
    added_to_spread: float | None = None
    """What its package adds to the standard deviation of a column of numbers before it divides by it; None: it does not divide."""
    install: str
    """Command that installs its package."""
    upstream: Upstream
    """What we rely on in its package, and the versions that were tested."""

    def code(self, module: str) -> Any:
        """One of the modules of its folder."""
        return import_module(f"tabtune_core.models.{self.folder}.{module}")

    @property
    def distribution(self) -> str:
        """Name of its package on the Python package index."""
        return self.upstream.distribution

    def rules(self, task: Task, paths: Iterable[str]) -> TargetRules:
        """What names stand for in a model of this family, recognized by the paths of its weights: ``groups``, and LATE."""
        numbers = {
            int(path.removeprefix(f"{self.late_blocks}.").split(".")[0]) for path in paths if path.startswith(f"{self.late_blocks}.")
        }
        late = sorted(numbers)[-max(1, len(numbers) // 3) :]
        groups = {**self.groups[task], LATE: (*(f"{self.late_blocks}.{number}" for number in late), *self.head)}
        return TargetRules(self.targets, groups, self.passed_over, self.unused[task])

    @property
    def installed(self) -> bool:
        """Whether its package is installed; checked without importing it."""
        return installed_now(self.distribution) is not None

    def missing_package(self) -> MissingPackageError:
        """The error to raise where it is not installed."""
        return MissingPackageError(
            f"{self.name} needs the package {self.distribution}, which is not installed or not complete. Run: {self.install}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """One base model as a person sees it."""

    name: str
    title: str
    family: Family
    licence: Licence
    """Of the weights."""
    note: str
    weights: Mapping[Task, Weights]
    rates: Mapping[Task, Mapping[Strategy, float]] = field(default_factory=dict)
    """Peak learning rates that gained most on real tables with these weights (``tests/benchmarks/default_rates.py``)."""

    def usual_rate(self, task: Task, strategy: Strategy) -> float:
        """The peak learning rate of a run that is given none: the measured one, or else the guide's."""
        return self.rates.get(task, LEARNING_RATES).get(strategy, LEARNING_RATES[strategy])

    def told_rate(self, task: Task, strategy: Strategy) -> str:
        """The same with where it comes from, for example ``2e-3 (measured for this model; guide 2e-4)``."""
        usual, guide = (short_rate(rate) for rate in (self.usual_rate(task, strategy), LEARNING_RATES[strategy]))
        measured = strategy in self.rates.get(task, {})
        return f"{usual} (measured for this model; guide {guide})" if measured else f"{guide} (guide; not measured for this model)"

    def weights_for(self, task: Task) -> Weights:
        """The checkpoint of a task.

        Raises:
            SettingError: the model does not do the task.
        """
        if task not in self.weights:
            raise SettingError(f"{self.title} has no weights for {task}; it does {' and '.join(self.weights)}. Choose another model.")
        return self.weights[task]

    def without_path(self, task: Task) -> CheckpointError:
        """The error to raise where weights are opened by their path alone and no path is named."""
        weights = self.weights_for(task)
        return CheckpointError(
            f"{self.title} is opened by its path alone, under its owner's licence ({self.licence}): accept it on "
            f"huggingface.co/{weights.repository}, download {weights.file} there and name its path as the checkpoint."
        )

    @property
    def in_the_box(self) -> bool:
        """Whether the weights ship with the package."""
        return all(weights.repository is None for weights in self.weights.values())

    def rules(self, task: Task) -> TargetRules:
        """What names stand for, and what an adapter is for."""
        return self.family.rules(task, self.layers(task).weights)

    def layers(self, task: Task) -> Layers:
        """Its weights and biases, as far as an adapter can reach them."""
        return self.family.layers(self.weights_for(task).config, task)

    def adapted_shapes(self, task: Task, targets: Sequence[str] = ()) -> Shapes:
        """Of the weights under these targets; of the default targets when none is named."""
        shapes, rules = self.layers(task).weights, self.rules(task)
        by_path = {path.removesuffix(".weight"): path for path in shapes}
        matches = match_targets(by_path, targets or rules.targets, rules)
        return {by_path[path]: shapes[by_path[path]] for path in matches.target_by_path}


@dataclass(frozen=True, slots=True)
class AdapterSize:
    """Counts of parameters."""

    factors: int
    """Of A and B in all layers, and what a variant trains beside them: what is added to the model."""
    biases: int
    """Of the base's biases that train beside them."""
    adapted_weights: int
    """Of the weights that have an adapter."""
    capped_layers: int
    """Layers that are narrower than the rank, where it is the layer's own width."""
    frozen: int = 0
    """What the adapter holds and does not train, such as the start of PiSSA."""

    @property
    def trainable(self) -> int:
        """All that trains."""
        return self.factors + self.biases

    @property
    def tensor_bytes(self) -> int:
        """Of the tensors in the adapter's file, exactly: float32. Beside them it has their names and some pages of text."""
        return 4 * (self.trainable + self.frozen)

    @property
    def compression(self) -> float:
        """Adapted weights to what trains in their place; NaN where nothing is adapted."""
        return self.adapted_weights / self.trainable if self.trainable else float("nan")


def asked_ranks(card: ModelCard, task: Task, lora: LoraSettings) -> dict[str, int]:
    """The rank that is asked for in each adapted layer, by its path; a layer's narrower side caps it.

    Raises:
        TargetError: a pattern that names no adapted layer.
    """
    paths = [path.removesuffix(".weight") for path in card.adapted_shapes(task, lora.targets)]
    return dict.fromkeys(paths, lora.rank) | pattern_values("rank_pattern", lora.rank_pattern, paths, card.rules(task).groups)


def adapter_size(card: ModelCard, task: Task, lora: LoraSettings) -> AdapterSize:
    """The size of an adapter on a model: ``rank * (in + out)`` a layer, Hu et al. 2021, section 4.1, the rank capped at the smaller side.

    Raises:
        TargetError: a pattern that names no adapted layer.
    """
    shapes = {path.removesuffix(".weight"): shape for path, shape in card.adapted_shapes(task, lora.targets).items()}
    ranks = asked_ranks(card, task, lora)
    used, variant = {path: min(ranks[path], *shape) for path, shape in shapes.items()}, VARIANTS[lora.variant]
    beside = {bias_of(path) for path in shapes}
    biases = sum(
        size for name, size in card.layers(task).biases.items() if lora.bias == "all" or (lora.bias == "lora_only" and name in beside)
    )
    return AdapterSize(
        factors=sum(used[path] * sum(shape) + variant.trained(*shape, used[path]) for path, shape in shapes.items()),
        frozen=sum(variant.frozen(*shape, used[path]) for path, shape in shapes.items()),
        biases=biases,
        adapted_weights=sum(out * width for out, width in shapes.values()),
        capped_layers=sum(ranks[path] > min(shape) for path, shape in shapes.items()),
    )

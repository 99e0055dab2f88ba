"""Model cards: a model as data, with its family, weights by task, modules and limits. Loads no torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

from tabtune_core.errors import CheckpointError, MissingPackageError, SettingError
from tabtune_core.lora.names import TargetRules, bias_of, match_targets, pattern_values
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.metrics import Task
from tabtune_core.settings import LEARNING_RATES, LoraSettings, Strategy
from tabtune_core.settings.labels import short_rate
from tabtune_core.upstream import Licence, Upstream, installed_now
from tabtune_core.variants import VARIANTS


@dataclass(frozen=True, slots=True)
class Snippet:
    """Python that opens a file and predicts with it, in two parts: after the first, ``rows`` are the rows to predict."""  # noqa: E501

    setup: str
    use: str
    through: str
    """The class whose code opens the file."""
    views: int = 1
    """Ensemble size of its predictions; the run's own may have been larger."""

    @property
    def code(self) -> str:
        """The code as a user runs it."""
        return f"{self.setup}\n{self.use}\nprint(predicted)\n"


LATE = "late_layers"
"""Group of the last third of the main blocks and the head; the layers before it run once for each input."""
Shapes = dict[str, tuple[int, int]]
"""Shapes ``(out, in)`` of weights by their path in the module, without a trailing ``.weight``."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The parts of an architecture that an adapter can reach."""

    weights: Shapes = field(default_factory=dict)
    """Every weight that LoRA can reach."""
    biases: dict[str, int] = field(default_factory=dict)
    """Length of every bias, norms included, by its path."""

    def linear(self, path: str, out: int, width: int, *, bias: bool = True) -> None:
        """Adds a linear layer."""
        self.weights[path] = (out, width)
        if bias:
            self.biases[f"{path}.bias"] = out

    def attention(self, path: str, width: int) -> None:
        """Adds the projections of torch's attention: the packed one and the output projection."""
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
    """Its path in the repository, or in this package's folder of weights."""
    repository: str | None
    """Hugging Face repository it is downloaded from; None: it ships in this package."""
    total_parameters: int
    config: dict[str, Any]
    """Architecture, as arguments of the upstream class."""
    sha256: str | None = None
    """SHA-256 of the file, if known."""
    beside: tuple[str, ...] = ()
    """Names of files that must be in the same folder."""
    by_path: bool = False
    """Whether its owner requires a licence to be accepted; it is then opened only by its path."""

    @property
    def files(self) -> tuple[str, ...]:
        """The checkpoint file, then the files beside it."""
        return (self.file, *self.beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the models of one upstream package have in common, and where their code is.

    The folder has these modules beside ``family.py``, imported on demand:

    - ``model``: ``MODEL``, a ``base.BaseModel``; ``read_checkpoint``, what it is made of; ``stages(module)``;
    - ``activations``: ``training``, ``predicting`` and ``attention``, which estimate memory.
    """

    name: str
    folder: str
    """Its package below ``tabtune_core.models``."""
    targets: tuple[str, ...]
    """Default targets of LoRA: the guide's section 5.2."""
    groups: Mapping[str, tuple[str, ...]]
    """Modules by group name, for every size of the model: the names of the guide's section 5.1."""
    late_blocks: str
    """Path of the list of main blocks; the last third of them are late layers."""
    head: tuple[str, ...]
    """Modules after the main blocks."""
    unused: Mapping[Task, tuple[str, ...]] = field(default_factory=dict)
    """Modules that a task never calls; an adapter there would never train. Groups may name them."""
    passed_over: tuple[str, ...] = ()
    """Modules that LoRA adapts only when a target names them: an adapter there would be larger than the weight."""
    block_lists: tuple[str, ...]
    """Lists of blocks that gradient checkpointing recomputes; empty if the package always recomputes them."""
    layers: Callable[[dict[str, Any], Task], Layers]
    """Computes the layers from the architecture, without those that the task never calls."""
    class_limit: int | None = None
    """Most classes of a table; None: the model splits a larger task into several smaller ones."""
    feature_limit: int | None = None
    context_limit: int | None = None
    """Most context rows."""
    added_to_spread: float | None = None
    """What its package adds to a column's standard deviation before dividing by it; None: it does not divide."""
    install: str
    """Command that installs its package."""
    merged_ending: str
    """Ending of the file of a merged checkpoint."""
    merged_snippet: Callable[[PackageFacts, str], Snippet]
    """Returns the code that opens the merged file of this name; its ``setup`` has the imports only."""
    upstream: Upstream
    """The names that we use of its package, and the versions that were tested."""

    def code(self, module: str) -> Any:
        """Imports one of the modules of its folder."""
        return import_module(f"tabtune_core.models.{self.folder}.{module}")

    @property
    def distribution(self) -> str:
        """Name of its package on the Python package index."""
        return self.upstream.distribution

    def rules(self, task: Task, paths: Iterable[str]) -> TargetRules:
        """Returns the target rules of a model of this family; ``paths`` of its weights determine the late layers."""
        start = f"{self.late_blocks}."
        numbers = {int(path.removeprefix(start).split(".")[0]) for path in paths if path.startswith(start)}
        late = sorted(numbers)[-max(1, len(numbers) // 3) :]
        groups = {**self.groups, LATE: (*(f"{self.late_blocks}.{number}" for number in late), *self.head)}
        return TargetRules(self.targets, groups, self.passed_over, self.unused.get(task, ()))

    @property
    def installed(self) -> bool:
        """Whether its package is installed; checked without importing it."""
        return installed_now(self.distribution) is not None

    def missing_package(self) -> MissingPackageError:
        """Returns the error for a package that is not installed."""
        missing = f"{self.name} needs the package {self.distribution}, which is not installed or not complete."
        return MissingPackageError(f"{missing} Run: {self.install}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelCard:
    """One base model as the user sees it."""

    name: str
    title: str
    family: Family
    licence: Licence
    """Licence of the weights."""
    note: str
    weights: Mapping[Task, Weights]
    rates: Mapping[Task, Mapping[Strategy, float]] = field(default_factory=dict)
    """Peak learning rates that gained most on real tables with these weights."""

    def usual_rate(self, task: Task, strategy: Strategy) -> float:
        """Returns the default peak learning rate: the measured one, or else the guide's."""
        return self.rates.get(task, LEARNING_RATES).get(strategy, LEARNING_RATES[strategy])

    def told_rate(self, task: Task, strategy: Strategy) -> str:
        """Writes the default rate with its source, such as ``2e-3 (measured for this model; guide 2e-4)``."""
        usual, guide = (short_rate(rate) for rate in (self.usual_rate(task, strategy), LEARNING_RATES[strategy]))
        if strategy in self.rates.get(task, {}):
            return f"{usual} (measured for this model; guide {guide})"
        return f"{guide} (guide; not measured for this model)"

    def weights_for(self, task: Task) -> Weights:
        """Returns the checkpoint of a task; raises SettingError if the model does not support it."""
        if task not in self.weights:
            has = " and ".join(self.weights)
            raise SettingError(f"{self.title} has no weights for {task}, only for {has}. Choose another model.")
        return self.weights[task]

    def without_path(self, task: Task) -> CheckpointError:
        """Returns the error for weights that are opened only by their path if no path is given."""
        weights = self.weights_for(task)
        return CheckpointError(
            f"{self.title} is not downloaded automatically, because of its owner's licence ({self.licence}): accept "
            f"the licence on huggingface.co/{weights.repository}, download {weights.file} there and set its path as "
            "the checkpoint."
        )

    @property
    def in_the_box(self) -> bool:
        """Whether the weights ship with the package."""
        return all(weights.repository is None for weights in self.weights.values())

    def rules(self, task: Task) -> TargetRules:
        """Returns the target rules for a task."""
        return self.family.rules(task, self.layers(task).weights)

    def layers(self, task: Task) -> Layers:
        """Returns the weights and biases that an adapter can reach."""
        return self.family.layers(self.weights_for(task).config, task)

    def adapted_shapes(self, task: Task, targets: Sequence[str] = ()) -> Shapes:
        """Returns the shapes of the weights under the targets; without targets, those under the default targets."""
        return dict(_adapted_shapes(self, task, tuple(targets)))


@lru_cache(maxsize=256)
def _adapted_shapes(card: ModelCard, task: Task, targets: tuple[str, ...]) -> Shapes:
    shapes, rules = card.layers(task).weights, card.rules(task)
    return {path: shapes[path] for path in match_targets(shapes, targets or rules.targets, rules).target_by_path}


@dataclass(frozen=True, slots=True)
class AdapterSize:
    """Parameter counts of an adapter."""

    factors: int
    """Parameters added to the model: A and B of all layers, and those that a variant trains beside them."""
    biases: int
    """Parameters of the base's biases that train too."""
    adapted_weights: int
    """Parameters of the weights that have an adapter."""
    frozen: int = 0
    """Numbers that the adapter holds and does not train, such as the start of PiSSA."""

    @property
    def trainable(self) -> int:
        """Trainable parameters."""
        return self.factors + self.biases

    @property
    def compression(self) -> float:
        """Adapted weights divided by trainable parameters; NaN if nothing trains."""
        return self.adapted_weights / self.trainable if self.trainable else float("nan")


def adapted_ranks(card: ModelCard, task: Task, lora: LoraSettings) -> dict[str, int]:
    """Returns the rank of each adapted weight, capped at its smaller side; raises TargetError as ``pattern_values``."""
    shapes, groups = card.adapted_shapes(task, lora.targets), card.rules(task).groups
    by_pattern = pattern_values("rank_pattern", lora.rank_pattern, list(shapes), groups)
    return {path: min(by_pattern.get(path, lora.rank), *shape) for path, shape in shapes.items()}


def adapter_size(card: ModelCard, task: Task, lora: LoraSettings) -> AdapterSize:
    """Computes the size of an adapter: capped ``rank * (in + out)`` per layer, Hu et al. 2021, section 4.1."""
    shapes, variant = card.adapted_shapes(task, lora.targets), VARIANTS[lora.variant]
    used = adapted_ranks(card, task, lora)
    beside = {bias_of(path) for path in shapes}
    biases = sum(
        size
        for name, size in card.layers(task).biases.items()
        if lora.bias == "all" or (lora.bias == "lora_only" and name in beside)
    )
    return AdapterSize(
        factors=sum(used[path] * sum(shape) + variant.trained(*shape, used[path]) for path, shape in shapes.items()),
        frozen=sum(variant.frozen(*shape, used[path]) for path, shape in shapes.items()),
        biases=biases,
        adapted_weights=sum(out * width for out, width in shapes.values()),
    )

"""How large an adapter is, from the catalogue: what a run with it trains, before anything is loaded.

In: a model card and LoRA settings. Out: counts, the same as those that the injection reports.
"""

from dataclasses import dataclass

from tabtune_core.lora.names import bias_of, pattern_values
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import LoraSettings
from tabtune_core.variants import VARIANTS


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
    return dict.fromkeys(paths, lora.rank) | pattern_values("rank_pattern", lora.rank_pattern, paths, card.groups(task))


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

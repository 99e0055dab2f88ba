"""Finds the weights that LoRA adapts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tabtune_core.lora.adapted_layer import LayerKind
from tabtune_core.lora.names import TargetRules, check_reached, match_targets


@dataclass(frozen=True, slots=True)
class Adaptable:
    """A weight that LoRA can reach."""

    path: str
    """Path of the weight in the module, without a trailing ``.weight``."""
    kind: LayerKind
    owner: nn.Module
    weight: Tensor

    @property
    def matrix(self) -> Tensor:
        """The weight as ``(out, in)``; an embedding ``(ids, width)`` is transposed."""
        return self.weight.T if self.kind == "embedding" else self.weight


def adaptable_weights(module: nn.Module) -> Iterator[Adaptable]:
    """Yields every weight that LoRA can reach; of subclasses and packed projections only the weight can be updated."""
    plain: dict[type, LayerKind] = {nn.Linear: "linear", nn.Embedding: "embedding"}
    for path, child in module.named_modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            yield Adaptable(path, plain.get(type(child), "weight"), child, child.weight)
        elif isinstance(child, nn.MultiheadAttention) and child.in_proj_weight is not None:
            yield Adaptable(f"{path}.in_proj_weight", "weight", child, child.in_proj_weight)


def find_targets(
    module: nn.Module, targets: Sequence[str], rules: TargetRules
) -> tuple[dict[str, list[Adaptable]], list[str]]:
    """Returns the weights by their first target, and the paths left out; raises TargetError for a target of none."""
    everything = list(adaptable_weights(module))
    paths = [entry.path for entry in everything]
    matches = match_targets(paths, targets, rules)
    check_reached(matches, paths, targets, rules)
    by_target: dict[str, list[Adaptable]] = {target: [] for target in targets}
    for entry in everything:
        if entry.path in matches.target_by_path:
            by_target[matches.target_by_path[entry.path]].append(entry)
    return by_target, matches.left_out

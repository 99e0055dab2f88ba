"""Finds the weights that LoRA adapts, and explains why a target matches none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tabtune_core.errors import TargetError
from tabtune_core.lora.adapted_layer import LayerKind
from tabtune_core.lora.names import Matches, TargetRules, match_targets, resolve_targets, under


@dataclass(frozen=True, slots=True)
class Adaptable:
    """A weight that LoRA can reach."""

    path: str
    """Path of the weight in the module, without a trailing ``.weight``."""
    kind: LayerKind
    owner: nn.Module
    weight: torch.Tensor

    @property
    def matrix(self) -> torch.Tensor:
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
    matches = match_targets([entry.path for entry in everything], targets, rules)
    by_target: dict[str, list[Adaptable]] = {target: [] for target in targets}
    for entry in everything:
        if entry.path in matches.target_by_path:
            by_target[matches.target_by_path[entry.path]].append(entry)
    missed = [t for t in targets if t not in matches.reached]
    if missed or not targets:
        used = [e.path for e in everything if not any(under(e.path, part) for part in rules.unused)]
        _refuse(resolve_targets(missed, rules.groups), used, matches)
    return by_target, matches.left_out


def _refuse(missed: Mapping[str, Sequence[str]], paths: Sequence[str], matches: Matches) -> None:
    parts = ", ".join(sorted({".".join(path.split(".")[:2]) for path in paths}))
    requested = ", ".join(repr(t) for t in missed) or "an empty list of targets"
    prefixes = [prefix for part in missed.values() for prefix in part]
    if small := [path for path in matches.left_out if any(under(path, prefix) for prefix in prefixes)]:
        raise TargetError(
            f"Under {requested} there are only layers smaller than an adapter would be ({', '.join(small)}). "
            "Name one of them to adapt it anyway."
        )
    if never := ", ".join(repr(t) for t in missed if t in matches.idle):
        why = f"The model does not use {never} for this task: an adapter there would never train."
        raise TargetError(f"{why} Modules that it uses: {parts}.")
    raise TargetError(f"No linear layer under {requested}. Modules that have some: {parts}.")

"""Which weights LoRA adapts: what a module has, what names stand for, and what to say when a name stands for nothing.

In: a module and names. Out: the weights by target.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

import torch
from torch import nn

from tabtune_core.errors import TargetError

Kind = Literal["linear", "weight", "embedding"]
Groups = Mapping[str, Sequence[str]]
Value = TypeVar("Value", int, float)


@dataclass(frozen=True, slots=True)
class Adaptable:
    """A weight that LoRA can reach."""

    path: str
    """Of the weight in the module, without a trailing ``.weight``."""
    kind: Kind
    owner: nn.Module
    weight: torch.Tensor

    @property
    def matrix(self) -> torch.Tensor:
        """The weight as ``(out, in)``; a table ``(ids, width)`` takes ids in."""
        return self.weight.T if self.kind == "embedding" else self.weight


def adaptable_weights(module: nn.Module) -> Iterator[Adaptable]:
    """Every weight that LoRA can reach.

    A plain ``nn.Linear`` is called and a plain ``nn.Embedding`` looked up. Their subclasses (attention's output projection, layers that
    take class ids or skip rows) and attention's packed projection are read or called in other ways: only their weight can be updated.
    """
    plain: dict[type, Kind] = {nn.Linear: "linear", nn.Embedding: "embedding"}
    for path, child in module.named_modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            yield Adaptable(path, plain.get(type(child), "weight"), child, child.weight)
        elif isinstance(child, nn.MultiheadAttention) and child.in_proj_weight is not None:
            yield Adaptable(f"{path}.in_proj_weight", "weight", child, child.in_proj_weight)


def under(path: str, prefix: str) -> bool:
    """Whether a path is a prefix or below it."""
    return path == prefix or path.startswith(prefix + ".")


def resolve_targets(targets: Sequence[str], groups: Groups) -> dict[str, tuple[str, ...]]:
    """Path prefixes that each target stands for: a group name stands for its parts, anything else for itself."""
    return {target: tuple(groups.get(target, (target,))) for target in targets}


def _has(path: str, part: str) -> bool:
    return part in path.split(".") or fnmatchcase(path, part)


def find_targets(
    module: nn.Module, targets: Sequence[str], groups: Groups, passed_over: Sequence[str], unused: Sequence[str]
) -> tuple[dict[str, list[Adaptable]], list[str]]:
    """The weights under each target, each weight under the first that matches; and the paths passed over as too small.

    Raises:
        TargetError: a target that matches nothing.
    """
    prefixes = resolve_targets(targets, groups)
    found: dict[str, list[Adaptable]] = {target: [] for target in targets}
    left_out, idle, reached = [], [], set[str]()
    everything = list(adaptable_weights(module))
    for entry in everything:
        names = entry.path.split(".")
        matches = [t for t in targets if any(under(entry.path, prefix) for prefix in prefixes[t]) or t in names]
        if not matches:
            continue
        if any(under(entry.path, prefix) for prefix in unused):
            idle += matches
        elif entry.path not in matches and any(_has(entry.path, part) and not any(part in t for t in matches) for part in passed_over):
            left_out.append(entry.path)
        else:
            found[matches[0]].append(entry)
            reached.update(matches)
    missed = [t for t in targets if t not in reached]
    if missed or not targets:
        _refuse(prefixes, missed, [e.path for e in everything if not any(under(e.path, u) for u in unused)], left_out, idle)
    return found, left_out


def _refuse(
    prefixes: Mapping[str, Sequence[str]], missed: Sequence[str], paths: Sequence[str], left_out: Sequence[str], idle: Sequence[str]
) -> None:
    parts = ", ".join(sorted({".".join(path.split(".")[:2]) for path in paths}))
    asked = ", ".join(repr(t) for t in missed) or "an empty list of targets"
    only_small = [path for path in left_out if any(under(path, prefix) for t in missed for prefix in prefixes[t])]
    if only_small:
        raise TargetError(
            f"Under {asked} there are only layers smaller than an adapter would be ({', '.join(only_small)}). "
            f"Name one of them to adapt it all the same."
        )
    never = ", ".join(repr(t) for t in missed if t in idle)
    if never:
        raise TargetError(f"The model does not use {never} for this task: an adapter there would never train. Parts that it uses: {parts}.")
    raise TargetError(f"No linear layer under {asked}. Parts that have some: {parts}.")


def pattern_values(name: str, pattern: Mapping[str, Value], paths: Sequence[str], groups: Groups) -> dict[str, Value]:
    """The value of a pattern for every path that one of its keys names; the first key that does counts.

    A key is a path, a prefix of paths, a name or several in a row anywhere in a path (its end, as in PEFT), or a group.

    Raises:
        TargetError: a key that names none of the paths.
    """
    values: dict[str, Value] = {}
    for key, value in pattern.items():
        named = [p for p in paths if f".{key}." in f".{p}." or any(under(p, part) for part in groups.get(key, ()))]
        if not named:
            raise TargetError(
                f"{name} names {key!r}, which no adapted layer has in its path. Adapted are {some_of(paths)}; "
                f"name one of them, a part of a path or a group, or add it to the targets."
            )
        values = dict.fromkeys(named, value) | values
    return values


def some_of(paths: Sequence[str]) -> str:
    """Three of many, and how many more there are."""
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")

"""Matches names (targets, groups and patterns) against the paths of a model's weights. Loads no torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar

from tabtune_core.errors import TargetError
from tabtune_core.wording import few

Groups = Mapping[str, Sequence[str]]
Value = TypeVar("Value", int, float)


@dataclass(frozen=True, slots=True)
class TargetRules:
    """How a model's target names are resolved."""

    targets: Sequence[str] = ()
    """Default targets."""
    groups: Groups = field(default_factory=dict)
    """Names that stand for several modules."""
    passed_over: Sequence[str] = ()
    """Names in a path, or shell patterns of whole paths, of weights that are adapted only when a target names them."""
    unused: Sequence[str] = ()
    """Path prefixes of modules that the model does not use for its task; they are never adapted."""


NO_RULES = TargetRules()


def under(path: str, prefix: str) -> bool:
    """Whether a path equals a prefix or lies below it."""
    return path == prefix or path.startswith(prefix + ".")


def resolve_targets(targets: Sequence[str], groups: Groups) -> dict[str, tuple[str, ...]]:
    """Returns the path prefixes of each target: a group stands for its modules, any other name for itself."""
    return {target: tuple(groups.get(target, (target,))) for target in targets}


@dataclass(frozen=True, slots=True)
class Matches:
    """The weights that targets match."""

    target_by_path: dict[str, str]
    """The first matching target of each path."""
    left_out: list[str] = field(default_factory=list)
    """Paths left out because they are ``passed_over`` and no target names them."""
    idle: set[str] = field(default_factory=set)
    """Targets that match a module that the task does not use."""
    reached: set[str] = field(default_factory=set)
    """Targets that match a weight to adapt."""


def match_targets(paths: Iterable[str], targets: Sequence[str], rules: TargetRules) -> Matches:
    """Matches targets against paths."""
    prefixes, matches = resolve_targets(targets, rules.groups), Matches({})
    for path in paths:
        names = path.split(".")
        matching = [t for t in targets if any(under(path, prefix) for prefix in prefixes[t]) or t in names]
        if not matching:
            continue
        if any(under(path, prefix) for prefix in rules.unused):
            matches.idle.update(matching)
            continue
        parts = [part for part in rules.passed_over if part in names or fnmatchcase(path, part)]
        if path not in matching and any(not any(part in t for t in matching) for part in parts):
            matches.left_out.append(path)
        else:
            matches.target_by_path[path] = matching[0]
            matches.reached.update(matching)
    return matches


def check_reached(matches: Matches, paths: Iterable[str], targets: Sequence[str], rules: TargetRules) -> None:
    """Raises TargetError for targets that match no weight to adapt, or for no targets at all; the text says why."""
    missed = resolve_targets([target for target in targets if target not in matches.reached], rules.groups)
    if targets and not missed:
        return
    prefixes = [prefix for part in missed.values() for prefix in part]
    requested = ", ".join(map(repr, missed)) or "an empty list of targets"
    if small := [path for path in matches.left_out if any(under(path, prefix) for prefix in prefixes)]:
        only_small = f"there are only layers smaller than an adapter would be ({', '.join(small)})"
        raise TargetError(f"Under {requested} {only_small}. Name one of them to adapt it anyway.")
    used = [path for path in paths if not any(under(path, part) for part in rules.unused)]
    parts = ", ".join(sorted({".".join(path.split(".")[:2]) for path in used}))
    if never := ", ".join(repr(target) for target in missed if target in matches.idle):
        why = f"The model does not use {never} for this task: an adapter there would never train."
        raise TargetError(f"{why} Modules that it uses: {parts}.")
    raise TargetError(f"No linear layer under {requested}. Modules that have some: {parts}.")


def bias_of(path: str) -> str:
    """Returns the name that the bias of a weight's layer has, if it has one."""
    return f"{path.removesuffix('_weight')}_bias" if path.endswith("in_proj_weight") else f"{path}.bias"


def pattern_values(name: str, pattern: Mapping[str, Value], paths: Sequence[str], groups: Groups) -> dict[str, Value]:
    """Returns the value of a pattern for every path that one of its keys matches; the first matching key is used.

    A key is a path, a prefix of paths, one or more consecutive names anywhere in a path (such as its end, as in PEFT),
    or a group.

    Raises:
        TargetError: a key matches no path.
    """
    values: dict[str, Value] = {}
    for key, value in pattern.items():
        named = [p for p in paths if f".{key}." in f".{p}." or any(under(p, part) for part in groups.get(key, ()))]
        if not named:
            way_out = "name one of them, a part of a path or a group, or add it to the targets"
            none = f"{name} names {key!r}, which no adapted layer has in its path"
            raise TargetError(f"{none}. Adapted are {few(paths)}; {way_out}.")
        values = dict.fromkeys(named, value) | values
    return values


def check_ranks(default: int, by_pattern: Mapping[str, int], caps: Mapping[str, int]) -> None:
    """Raises TargetError for a rank that every layer would cap; ``by_pattern`` has layers with their own."""
    asked = {default: ("target", list(caps))} if caps.keys() - by_pattern else {}
    for rank in set(by_pattern.values()) - {default}:
        asked[rank] = ("layer that the rank pattern gives it to", [p for p, own in by_pattern.items() if own == rank])
    for rank, (which, paths) in sorted(asked.items()):
        largest = max(caps[path] for path in paths)
        if rank > largest:
            why = f"Rank {rank} is above the cap of every {which}: their largest weight allows {largest}."
            raise TargetError(f"{why} Choose a rank up to {largest}.")

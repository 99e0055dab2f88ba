"""Which weights a name stands for: targets, groups and patterns against the paths of a model. Loads no torch.

In: paths of weights, as the module has them without a trailing ``.weight``, and names. Out: the paths by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeVar

from tabtune_core.errors import TargetError

Groups = Mapping[str, Sequence[str]]
Value = TypeVar("Value", int, float)


@dataclass(frozen=True, slots=True)
class TargetRules:
    """What names stand for in a model, and what of it an adapter is for."""

    targets: Sequence[str] = ()
    """What is adapted unless settings name targets."""
    groups: Groups = field(default_factory=dict)
    """Names for several modules."""
    passed_over: Sequence[str] = ()
    """Parts of a path, or shell patterns of whole paths, that are adapted only when a target names them."""
    unused: Sequence[str] = ()
    """Path prefixes of what the model does not use for its task; nothing there is adapted."""


NO_RULES = TargetRules()


def under(path: str, prefix: str) -> bool:
    """Whether a path is a prefix or below it."""
    return path == prefix or path.startswith(prefix + ".")


def resolve_targets(targets: Sequence[str], groups: Groups) -> dict[str, tuple[str, ...]]:
    """Path prefixes that each target stands for: a group name stands for its modules, anything else for itself."""
    return {target: tuple(groups.get(target, (target,))) for target in targets}


@dataclass(frozen=True, slots=True)
class Matches:
    """What targets stand for."""

    target_by_path: dict[str, str]
    """Path -> the first target that matches it."""
    left_out: list[str] = field(default_factory=list)
    """Paths passed over as too small."""
    idle: set[str] = field(default_factory=set)
    """Targets that match a module which the task does not use."""
    reached: set[str] = field(default_factory=set)
    """Targets that match something to adapt."""


def match_targets(paths: Iterable[str], targets: Sequence[str], rules: TargetRules) -> Matches:
    """What each of the targets stands for among the paths."""
    prefixes, matches = resolve_targets(targets, rules.groups), Matches({})
    for path in paths:
        names = path.split(".")
        matching = [t for t in targets if any(under(path, prefix) for prefix in prefixes[t]) or t in names]
        if not matching:
            continue
        if any(under(path, prefix) for prefix in rules.unused):
            matches.idle.update(matching)
        elif path not in matching and any(_has(path, part) and not any(part in t for t in matching) for part in rules.passed_over):
            matches.left_out.append(path)
        else:
            matches.target_by_path[path] = matching[0]
            matches.reached.update(matching)
    return matches


def _has(path: str, part: str) -> bool:
    return part in path.split(".") or fnmatchcase(path, part)


def bias_of(path: str) -> str:
    """Name of the bias beside a weight, where it has one."""
    return f"{path.removesuffix('_weight')}_bias" if path.endswith("in_proj_weight") else f"{path}.bias"


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

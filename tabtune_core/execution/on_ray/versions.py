"""Whether a node has the code that the worker has: what it computes is compared with runs of other nodes.

In: versions here and there. Out: the sentence that refuses a node. Loads neither torch nor Ray.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabtune_core.execution.code_version import code_version
from tabtune_core.gpus import card_names
from tabtune_core.models.families import FAMILIES
from tabtune_core.upstream import installed_now

EVERY_RUN = ("Python", "tabtune_core", "torch")
"""What all runs need alike; beside it the package of the model's family."""
NONE = "not installed"


@dataclass(frozen=True, slots=True)
class Sight:
    """What a node says of itself."""

    host: str
    cards: tuple[str, ...]
    versions: dict[str, str]


def look_around() -> Sight:
    """Of the machine that this is called on."""
    return Sight(platform.node(), tuple(card_names()), versions())


def versions() -> dict[str, str]:
    """Of Python, its minor version; of this package, with a hash of its sources; of torch, without the kind of build."""
    major, minor, _ = platform.python_version_tuple()
    families = {family.distribution: installed_now(family.distribution) or NONE for family in FAMILIES.values()}
    torch = (installed_now("torch") or NONE).partition("+")[0]
    return {"Python": f"{major}.{minor}", "tabtune_core": code_version(), "torch": torch, **families}


def difference(node: str, here: Mapping[str, str], there: Mapping[str, str], packages: Sequence[str]) -> str:
    """A sentence with both versions of the first package that differs; empty if all are the same.

    >>> difference("b", {"torch": "2.9.0"}, {"torch": "2.8.0"}, ["torch"])
    'Node b has torch 2.8.0 and the worker has 2.9.0: install the same on both.'
    """
    for name in packages:
        if here.get(name, NONE) != there.get(name, NONE):
            return f"Node {node} has {name} {there.get(name, NONE)} and the worker has {here.get(name, NONE)}: install the same on both."
    return ""

"""A model as a tree of modules with their sizes: its nodes, the effect of a tick on the targets, and the tree on the
page.

In: a model card and the chosen targets. Out: nodes with what is adapted under each, and changed targets. Streamlit has
no tree; this one uses the browser's ``details`` elements and check boxes with three states, and remembers which nodes
are open.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from dashboard.components import browser_part
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard


@dataclass(frozen=True, slots=True)
class Leaf:
    """One weight that LoRA can adapt."""

    path: str
    """Without a trailing ``.weight``, as a target names it."""
    out: int
    width: int
    small: bool
    """True if an adapter would be larger than the weight, which is then adapted only if a target names it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A module of the model: everything under one path."""

    path: str
    leaves: tuple[Leaf, ...]
    children: tuple["Node", ...]
    """Empty if the path is a weight itself."""

    @property
    def usual(self) -> tuple[str, ...]:
        """Paths of the weights that a target with this path adapts."""
        if not self.children:
            return (self.leaves[0].path,)
        return tuple(leaf.path for leaf in self.leaves if not leaf.small)


def tree_of(card: ModelCard, task: Task) -> tuple[Node, ...]:
    """Returns the outermost nodes of a model; a path that does not branch is one node."""
    shapes = card.layers(task).weights
    everything = adapted(card, task, [path.split(".")[0] for path in shapes])
    leaves = [Leaf(path, *shape, small=path not in everything) for path, shape in shapes.items()]
    return tuple(_branches(leaves, ""))


def paths_of(card: ModelCard, task: Task) -> list[str]:
    """Returns the paths of all modules, blocks and layers."""
    return [node.path for node in _walk(tree_of(card, task))]


def adapted(card: ModelCard, task: Task, targets: Sequence[str]) -> set[str]:
    """Returns the paths of the weights that these targets adapt; without targets, those of the model's own list."""
    return set(card.adapted_shapes(task, list(dict.fromkeys(targets))))


def toggled(card: ModelCard, task: Task, targets: Sequence[str], path: str) -> list[str]:
    """Returns the targets after a tick at ``path``: everything under it is adapted, or nothing if everything was. One
    weight always stays.

    The result has as few targets as possible; it is empty for the model's own list.
    """
    chosen, nodes = adapted(card, task, targets), tree_of(card, task)
    at = next((node for node in _walk(nodes) if node.path == path), None)
    if at is None:
        return list(targets)
    under = set(at.usual)
    chosen = chosen - under - {leaf.path for leaf in at.leaves} if under <= chosen else chosen | under
    if not chosen:
        return list(targets)
    return [] if chosen == adapted(card, task, ()) else list(_cover(nodes, chosen))


def as_data(card: ModelCard, task: Task, targets: Sequence[str], rank: int) -> list[dict[str, Any]]:
    """Returns the tree as JSON values: path, name, contents, and the parameters of an adapter of this rank there."""
    chosen = adapted(card, task, targets)
    groups: dict[str, str] = {}
    for name, parts in card.rules(task).groups.items():
        for part in parts:
            groups.setdefault(part, name)

    def plain(node: Node, parent: str) -> dict[str, Any]:
        name = node.path.removeprefix(f"{parent}.")
        adapter = sum(
            min(rank, leaf.out, leaf.width) * (leaf.out + leaf.width) for leaf in node.leaves if leaf.path in chosen
        )
        return {
            "path": node.path,
            "name": name,
            "group": next((named for part, named in groups.items() if _outermost(node.path, parent, part)), ""),
            "layers": len(node.leaves),
            "weights": sum(leaf.out * leaf.width for leaf in node.leaves),
            "shape": "" if node.children else f"{node.leaves[0].out} x {node.leaves[0].width}",
            "small": all(leaf.small for leaf in node.leaves),
            "adapter": adapter,
            "state": state_of(node, chosen),
            "children": [plain(child, node.path) for child in node.children],
        }

    return [plain(node, "") for node in tree_of(card, task)]


def state_of(node: Node, chosen: set[str]) -> Literal["all", "some", "none"]:
    """Returns how much under a node is adapted; small weights do not count for "all"."""
    paths = {leaf.path for leaf in node.leaves}
    if node.usual and chosen >= set(node.usual):
        return "all"
    return "some" if paths & chosen else "none"


def _branches(leaves: Sequence[Leaf], prefix: str) -> Iterator[Node]:
    """Yields the nodes directly under a path."""
    depth = len(prefix.split(".")) if prefix else 0
    groups: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        groups.setdefault(".".join(leaf.path.split(".")[: depth + 1]), []).append(leaf)
    for path, inside in groups.items():
        below = tuple(_branches(inside, path)) if [leaf.path for leaf in inside] != [path] else ()
        if len(below) == 1:
            yield below[0]
        else:
            yield Node(path, tuple(inside), below)


def _outermost(path: str, parent: str, part: str) -> bool:
    """Returns True if ``part`` is this path, or lies between it and its parent."""
    return f"{path}.".startswith(f"{part}.") and not f"{parent}.".startswith(f"{part}.")


def _walk(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _walk(node.children)


def _cover(nodes: Sequence[Node], chosen: set[str]) -> Iterator[str]:
    """Yields as few paths as possible that stand for exactly these weights."""
    for node in nodes:
        named = {leaf.path for leaf in node.leaves if leaf.small} & chosen
        if node.usual and set(node.usual) <= chosen:
            yield node.path
            yield from (path for path in sorted(named) if path != node.path)
        else:
            yield from _cover(node.children, chosen)


_component = browser_part("tree_view", "<div class='lab-tree'></div>")


def show_tree(nodes: list[dict[str, Any]], *, rank: int, key: str, on_tick: Callable[[str], None]) -> None:
    """Draws the tree; ``on_tick`` is called with the path of a ticked box before the page is drawn again."""

    def ticked() -> None:
        if path := st.session_state[key].ticked:
            on_tick(path)

    _component(data={"nodes": nodes, "rank": rank}, key=key, on_ticked_change=ticked)

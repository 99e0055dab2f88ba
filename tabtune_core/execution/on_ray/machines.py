"""The machines of a Ray cluster as the worker sees them: their resources, and what a run needs.

In: an address. Out: nodes that can be given runs, and why others cannot; each must have the worker's versions.
"""

import logging
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabtune_core.errors import ClusterError
from tabtune_core.execution.cluster import NOT_INSTALLED, ClusterNode, check, first_line, no_cluster
from tabtune_core.gpus import card_names
from tabtune_core.machine import PROCESS_BYTES
from tabtune_core.models.catalogue import FAMILIES
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.upstream import DISTRIBUTION, installed_now

CPUS_OF_A_CPU_RUN = 4
"""Fewer if the largest node has fewer besides those reserved for its GPUs."""
CPUS_OF_A_GPU_RUN = 1
BYTES_OF_A_GPU_RUN = 2 * PROCESS_BYTES
"""Main memory of the node, which the table and the weights pass through. Ray does not count GPU memory."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Resources that a run needs, or that a node has or has left."""

    cpus: float
    memory_bytes: float
    gpus: float

    def fits(self, room: "Demand") -> bool:
        """Whether ``room`` suffices; differences of up to a thousandth are rounding."""
        cores = self.cpus <= room.cpus + 1e-3 and self.gpus <= room.gpus + 1e-3
        return cores and self.memory_bytes <= room.memory_bytes

    def without(self, taken: "Demand") -> "Demand":
        """Subtracts what is taken."""
        return Demand(self.cpus - taken.cpus, self.memory_bytes - taken.memory_bytes, self.gpus - taken.gpus)

    def __str__(self) -> str:
        """Describes the resources in words."""
        gpus = f" and {self.gpus:g} GPU{'s' * (self.gpus != 1)}" if self.gpus else " and no GPU"
        return f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}, {self.memory_bytes / 1e9:,.1f} GB of memory{gpus}"


EVERY_RUN = ("Python", "tabtune_core", "torch")
"""Packages that every run needs in the worker's version, in addition to the package of the model's family."""
NONE = "not installed"
Sight = tuple[tuple[str, ...], dict[str, str]]
"""What a node reports about itself: the names of its GPUs, and the versions of its packages."""


def look_around() -> Sight:
    """Reports about the machine that this is called on."""
    return tuple(card_names()), versions()


def versions() -> dict[str, str]:
    """Returns the versions of Python (minor), this package, torch (without build) and the model packages."""
    python = ".".join(platform.python_version_tuple()[:2])
    families = {family.distribution: installed_now(family.distribution) or NONE for family in FAMILIES.values()}
    torch = (installed_now("torch") or NONE).partition("+")[0]
    return {"Python": python, "tabtune_core": installed_now(DISTRIBUTION) or NONE, "torch": torch, **families}


def difference(node: str, here: Mapping[str, str], there: Mapping[str, str], packages: Sequence[str]) -> str:
    """Returns a sentence with both versions of the first package that differs; empty if all are the same.

    >>> difference("b", {"torch": "2.9.0"}, {"torch": "2.8.0"}, ["torch"])
    'Node b has torch 2.8.0 and the worker has 2.9.0: install the same on both.'
    """
    for name in packages:
        own, other = here.get(name, NONE), there.get(name, NONE)
        if own != other:
            return f"Node {node} has {name} {other} and the worker has {own}: install the same on both."
    return ""


LOOK_SECONDS = 2.0
"""Between two queries of the cluster's nodes."""
FIRST_LOOK_SECONDS = 60.0
"""How long the nodes may take to report when the worker starts."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """One machine that is part of the cluster now."""

    id: str
    name: str
    has: Demand
    """Its resources, free or not."""
    cards: tuple[str, ...]
    versions: dict[str, str]
    problem: str
    """Why it is given no run; empty if it is given runs."""

    def for_pages(self) -> ClusterNode:
        """Returns what pages show of the node."""
        named = self.cards[: int(self.has.gpus)]
        cards = named + ("GPU",) * (int(self.has.gpus) - len(named))
        return ClusterNode(self.name, int(self.has.cpus), cards, self.problem)


class Machines:
    """The machines of the cluster that this process has joined."""

    def __init__(self, address: str) -> None:
        self.ray = join(address)
        self.here = versions()
        self.seen: dict[str, Demand] = {}
        """Resources of each node that could ever be given runs, including nodes that have left."""
        self.names: dict[str, str] = {}
        """Names of all nodes that were ever there, by id."""
        self._questions: dict[str, Any] = {}
        self._sights: dict[str, Sight | str] = {}
        """What each node reported, or why it could not."""
        self._nodes: list[Node] = []
        self._next_look = 0.0
        deadline = time.monotonic() + FIRST_LOOK_SECONDS
        while (not self.nodes() or self._questions) and time.monotonic() < deadline:
            self._next_look = 0.0
            time.sleep(0.1)

    def nodes(self) -> list[Node]:
        """Returns the nodes that have reported; a new node does so within seconds."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._look()
        return self._nodes

    def asks(self, settings: RunSettings) -> Demand:
        """Returns the CPUs and GPUs that a run needs, with memory 0."""
        cpus = max((has.cpus for has in self.seen.values()), default=0)
        gpus = max((has.gpus for has in self.seen.values()), default=0)
        # 'auto' is put on a GPU if any node has one; the number in 'cuda:1' has no meaning here
        wants_gpu = settings.device.startswith("cuda") or (settings.device == "auto" and gpus > 0)
        if wants_gpu and settings.strategy not in REFERENCES:
            return Demand(CPUS_OF_A_GPU_RUN, 0, 1)
        return Demand(min(CPUS_OF_A_CPU_RUN, max(1, cpus - gpus * CPUS_OF_A_GPU_RUN), cpus or 1), 0, 0)

    def _look(self) -> None:
        try:
            there = {node["NodeID"]: node for node in self.ray.nodes() if node["Alive"]}
        except self.ray.exceptions.RayError as error:
            _log.warning("The cluster does not say which nodes it has: %s", first_line(error))
            return
        for node_id in there.keys() - self._sights.keys() - self._questions.keys():
            self._questions[node_id] = self._ask(node_id)
        for node_id, question in list(self._questions.items()):
            if self.ray.wait([question], timeout=0)[0]:
                del self._questions[node_id]
                self._sights[node_id] = self._heard(question)
        hosts = Counter(node["NodeManagerHostname"] for node in there.values())
        seen = ((node, self._sights[node_id]) for node_id, node in there.items() if node_id in self._sights)
        known = [_node(node, sight, hosts, self.here) for node, sight in seen]
        for node in known:
            if node.id not in self.names:
                _log.info("Node %s has %s. %s", node.name, node.has, node.problem or "It is given runs.")
                self.names[node.id] = node.name
            if not node.problem:
                self.seen[node.id] = node.has
        for node in self._nodes:
            if node.id not in there:
                _log.warning("Node %s has left the cluster.", node.name)
        self._nodes = known

    def _ask(self, node_id: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return self.ray.remote(look_around).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()

    def _heard(self, question: Any) -> Sight | str:
        try:
            sight: Sight = self.ray.get(question)
        except self.ray.exceptions.RayError as error:
            return first_line(error)
        return sight


def join(address: str) -> Any:
    """Connects to the cluster and returns the module ``ray``; raises ClusterError if it cannot be joined."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    check(address)
    try:
        import ray
    except ImportError as error:
        raise ClusterError(NOT_INSTALLED) from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise no_cluster(address, error) from error
    return ray


def _node(node: dict[str, Any], sight: Sight | str, hosts: Counter[str], here: dict[str, str]) -> Node:
    host, resources = node["NodeManagerHostname"], node["Resources"]
    name = host if hosts[host] == 1 else f"{host} ({node['NodeID'][:4]})"
    has = Demand(resources.get("CPU", 0.0), resources.get("memory", 0.0), resources.get("GPU", 0.0))
    if isinstance(sight, str):
        install = f"install it there, version {here['tabtune_core']}. Ray says: {sight}"
        problem = f"Node {name} could not load tabtune_core: {install}"
        return Node(node["NodeID"], name, has, (), dict.fromkeys(here, NONE), problem)
    return Node(node["NodeID"], name, has, *sight, difference(name, here, sight[1], EVERY_RUN))

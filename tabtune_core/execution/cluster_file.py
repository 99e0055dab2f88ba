"""What the worker writes down of its cluster, for the pages: they never load Ray.

In: the cluster's machines. Out: ``cluster.json`` in the workspace, and from it the same again.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tabtune_core.execution.executor import LOCAL, executor_in_environment
from tabtune_core.execution.lock import worker_of
from tabtune_core.files.whole import write_text
from tabtune_core.wording import counted

CLUSTER = "cluster.json"


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """One machine."""

    name: str
    cpus: int
    cards: tuple[str, ...]
    """Names of its GPUs; as many as it lends, however they are called."""
    problem: str = ""
    """Why it is given no run; empty where it is."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """All of them, and whether something waits for one that is not there; without nodes, why there is no cluster."""

    nodes: tuple[ClusterNode, ...] = ()
    waits: str = ""
    """A sentence; empty where nothing does."""

    @property
    def cards(self) -> list[str]:
        """Of the machines that are given runs."""
        return [card for node in self.nodes if not node.problem for card in node.cards]

    @property
    def summary(self) -> str:
        """In one line, of the machines that are given runs.

        >>> Cluster((ClusterNode("a", 8, ("NVIDIA L4", "NVIDIA L4")), ClusterNode("b", 4, ()))).summary
        '2 nodes, 12 CPUs, 2 GPUs (2 × NVIDIA L4)'
        """
        used = [node for node in self.nodes if not node.problem]
        cards = self.cards
        kinds = ", ".join(f"{cards.count(card)} × {card}" for card in dict.fromkeys(cards))
        counts = (counted(len(used), "node"), counted(sum(node.cpus for node in used), "CPU"), counted(len(cards), "GPU"))
        return ", ".join(counts) + (f" ({kinds})" if cards else "")


def write_cluster(home: Path, cluster: Cluster) -> None:
    """Whole or not at all; not where it says so already."""
    file, text = home / CLUSTER, json.dumps(asdict(cluster), indent=1)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)


def read_cluster(home: Path) -> Cluster | None:
    """None where runs are carried out on this machine, or the file cannot be read."""
    try:
        told = json.loads((home / CLUSTER).read_text(encoding="utf-8"))
        return Cluster(tuple(ClusterNode(**{**node, "cards": tuple(node["cards"])}) for node in told["nodes"]), str(told["waits"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def cluster_for_new_runs(home: Path) -> Cluster | None:
    """As ``read_cluster``; None also where a worker of the cluster has left and the one that would start now is for this machine alone."""
    there = worker_of(home) is not None or executor_in_environment() != LOCAL
    return read_cluster(home) if there else None


def why_not_joined(home: Path) -> str:
    """Why the last worker ended at once: its cluster was not there; empty where it was, or runs are carried out on this machine."""
    cluster = read_cluster(home)
    return cluster.waits if cluster and not cluster.nodes else ""


def forget_cluster(home: Path) -> None:
    """Of a workspace whose worker uses this machine alone."""
    with suppress(OSError):  # there is none; a folder that cannot be written to is refused elsewhere, in a sentence
        (home / CLUSTER).unlink()

"""The description of the cluster that the worker writes for the pages, which never load Ray.

In: the cluster's machines. Out: ``cluster.json`` in the workspace, and the machines read back from it.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tabtune_core.files.plain_values import restored
from tabtune_core.files.whole import write_text
from tabtune_core.wording import counted

CLUSTER = "cluster.json"


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """One machine."""

    name: str
    cpus: int
    cards: tuple[str, ...]
    """Names of its GPUs, as many as it lends to Ray."""
    problem: str = ""
    """Why it is given no run; empty if it is given runs."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """All machines of a cluster."""

    nodes: tuple[ClusterNode, ...] = ()
    waits: str = ""
    """A sentence: which run waits for a node that is not there, or, without nodes, why there is no cluster; else empty.
    """

    @property
    def cards(self) -> list[str]:
        """Returns the names of the GPUs of machines that are given runs."""
        return [card for node in self.nodes if not node.problem for card in node.cards]

    @property
    def summary(self) -> str:
        """Describes the machines that are given runs in one line.

        >>> Cluster((ClusterNode("a", 8, ("NVIDIA L4", "NVIDIA L4")), ClusterNode("b", 4, ()))).summary
        '2 nodes, 12 CPUs, 2 GPUs (2 × NVIDIA L4)'
        """
        used = [node for node in self.nodes if not node.problem]
        cards = self.cards
        kinds = ", ".join(f"{cards.count(card)} × {card}" for card in dict.fromkeys(cards))
        counts = (
            counted(len(used), "node"),
            counted(sum(node.cpus for node in used), "CPU"),
            counted(len(cards), "GPU"),
        )
        return ", ".join(counts) + (f" ({kinds})" if cards else "")


def write_cluster(home: Path, cluster: Cluster) -> None:
    """Writes the file whole or not at all, and only if its content changes."""
    file, text = home / CLUSTER, json.dumps(asdict(cluster), indent=1)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)


def read_cluster(home: Path) -> Cluster | None:
    """Reads the file; None if runs are carried out on this machine, or it cannot be read."""
    try:
        content = json.loads((home / CLUSTER).read_text(encoding="utf-8"))
        return restored(Cluster, {"nodes": content["nodes"], "waits": content["waits"]})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def why_not_joined(home: Path) -> str:
    """Says why the last worker could not join its cluster and ended; empty without such a failure."""
    cluster = read_cluster(home)
    return cluster.waits if cluster and not cluster.nodes else ""


def forget_cluster(home: Path) -> None:
    """Deletes the file, because the worker uses this machine alone."""
    with suppress(OSError):  # there is no such file; a read-only folder is reported elsewhere
        (home / CLUSTER).unlink()

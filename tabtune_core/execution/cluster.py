"""A Ray cluster without loading Ray, whose import alone takes a second: whether there is one, and how pages see it.

In: an address, or the cluster's machines. Out: an error that says what is missing; ``cluster.json`` in the workspace.
"""

import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from tabtune_core.errors import ClusterError
from tabtune_core.files.plain_values import restored
from tabtune_core.files.whole import write_text
from tabtune_core.wording import counted

CLUSTER = "cluster.json"
AUTO = "auto"
REACH_SECONDS = 5.0
NOT_INSTALLED = "The executor 'ray' needs its own package. Run: pip install 'tabtune-dashboard[ray]'"
OTHER_VERSION = "Version mismatch"
"""Part of Ray's error if the cluster and this process have different versions."""
RAYLET = "raylet"
"""Name of the process that Ray runs on every machine of a cluster."""


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
    """Which run waits for a node that is not there, or, without nodes, why there is no cluster; else empty."""

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
        used, cards = [node for node in self.nodes if not node.problem], self.cards
        kinds = ", ".join(f"{cards.count(card)} × {card}" for card in dict.fromkeys(cards))
        counts = counted(len(used), "node"), counted(sum(n.cpus for n in used), "CPU"), counted(len(cards), "GPU")
        return ", ".join(counts) + (f" ({kinds})" if cards else "")


def write_cluster(home: Path, cluster: Cluster) -> None:
    """Writes the file whole or not at all, and only if its content changes."""
    file, text = home / CLUSTER, json.dumps(asdict(cluster), indent=1)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)


def read_cluster(home: Path) -> Cluster | None:
    """Reads the file; None if runs are carried out on this machine, or it cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        content = json.loads((home / CLUSTER).read_text(encoding="utf-8"))
        return restored(Cluster, {"nodes": content["nodes"], "waits": content["waits"]})
    return None


def why_not_joined(home: Path) -> str:
    """Says why the last worker could not join its cluster and ended; empty without such a failure."""
    cluster = read_cluster(home)
    return cluster.waits if cluster and not cluster.nodes else ""


def forget_cluster(home: Path) -> None:
    """Deletes the file, because the worker uses this machine alone."""
    with suppress(OSError):  # there is no such file; a read-only folder is reported elsewhere
        (home / CLUSTER).unlink()


def check(address: str) -> None:
    """Checks that joining is worth a try: Ray itself would try for minutes to reach an address where nothing listens.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster.
    """
    if address.startswith("ray://"):
        client = f"The address {address} is that of a Ray client, which loses its runs with its connection"
        way_out = f"Start the worker on a machine of the cluster, with the address '{AUTO}' or HOST:6379 of its head."
        raise ClusterError(f"{client}. {way_out}")
    ray = find_spec("ray")
    if ray is None or ray.origin is None:  # no origin: a folder that happens to have this name
        raise ClusterError(NOT_INSTALLED)
    named = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    host, _, port = named.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise no_cluster(named, error) from error
    elif named not in ("", AUTO):
        raise no_cluster(named, "This is not an address; write HOST:6379.")
    if not any(process.info["name"] == RAYLET for process in psutil.process_iter(["name"])):
        raise no_cluster(address, "This machine is not part of a cluster.")


def no_cluster(address: str, why: BaseException | str) -> ClusterError:
    """Makes the error for a cluster that is not there or refuses this process."""
    if OTHER_VERSION in str(why):
        trouble = f"The Ray cluster at {address!r} cannot be joined. {' '.join(str(why).split())}."
        way_out = "Install the same version of Ray and of Python on all of its machines"
    else:
        trouble = f"There is no Ray cluster to join at {address!r}: {first_line(why)}"
        way_out = "Start one with 'ray start --head', or join one with 'ray start --address HOST:6379'"
    return ClusterError(f"{trouble} {way_out}; then start the worker again.")


def first_line(error: BaseException | str) -> str:
    """Returns the first line of an error's text, as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{(lines or [type(error).__name__])[0].rstrip('.')}."

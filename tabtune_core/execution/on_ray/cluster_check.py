"""Checks quickly whether there is a Ray cluster to join. Loads no Ray, whose import alone takes a second.

In: an address. Out: nothing, or an error that says what is missing.
"""

import os
import socket
from importlib.util import find_spec

import psutil

from tabtune_core.errors import ClusterError

AUTO = "auto"
REACH_SECONDS = 5.0
NOT_INSTALLED = (
    "The executor 'ray' needs the package ray, which is not installed. Run: pip install 'tabtune-dashboard[ray]'"
)
SETTINGS = b"\x04"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + SETTINGS + bytes(5)
"""An HTTP/2 client's preface with an empty SETTINGS frame: https://www.rfc-editor.org/rfc/rfc9113#section-3.4"""
OTHER_VERSION = "Version mismatch"
"""Part of Ray's error if the cluster and this process have different versions."""
RAYLET = "raylet"
"""Name of the process that Ray runs on every machine of a cluster."""


def check(address: str) -> None:
    """Checks that joining is worth a try: Ray itself would try for minutes to reach an address where nothing listens.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"The address {address} is that of a Ray client, which loses its runs if the connection is interrupted "
            "for 30 s. Start the"
            f" worker on a machine of the cluster, with the address '{AUTO}' or that of its head, HOST:6379."
        )
    if (
        found := find_spec("ray")
    ) is None or found.origin is None:  # no origin: a folder that happens to have this name
        raise ClusterError(NOT_INSTALLED)
    named = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    host, _, port = named.rpartition(":")
    if host and port.isdecimal():
        try:
            if not _speaks(host.strip("[]"), int(port)):
                raise no_cluster(named, "Another program listens there.")
        except (OSError, OverflowError) as error:
            raise no_cluster(named, error) from error
    elif named not in ("", AUTO):
        raise no_cluster(named, "This is not an address; write HOST:6379.")
    if not any(process.info["name"] == RAYLET for process in psutil.process_iter(["name"])):
        raise no_cluster(address, "This machine is not part of a cluster.")


def _speaks(host: str, port: int) -> bool:
    """Whether the program that listens there may be a head: it speaks gRPC, whose first frame is HTTP/2's SETTINGS."""
    with socket.create_connection((host, port), REACH_SECONDS) as there:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return True
        there.sendall(GREETING)
        return there.recv(9, socket.MSG_WAITALL)[3:4] == SETTINGS


def no_cluster(address: str, why: BaseException | str) -> ClusterError:
    """Makes the error for a cluster that is not there or refuses this process."""
    if OTHER_VERSION in str(why):
        return ClusterError(
            f"The Ray cluster at {address!r} cannot be joined. {' '.join(str(why).split())}. Install the same "
            "version of Ray and of Python"
            " on all of its machines; then start the worker again."
        )
    return ClusterError(
        f"There is no Ray cluster to join at {address!r}: {first_line(why)} Start one on this machine with 'ray "
        "start --head', or"
        " join one with 'ray start --address HOST:6379'; then start the worker again."
    )


def first_line(error: BaseException | str) -> str:
    """Returns the first line of an error's text, as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{(lines or [type(error).__name__])[0].rstrip('.')}."

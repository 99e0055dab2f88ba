"""Whether there is a Ray cluster to join, looked at in a moment. Loads no Ray, whose import alone takes a second.

In: an address. Out: nothing, or the sentence that says what is missing.
"""

import os
import socket
from importlib.util import find_spec

import psutil

from tabtune_core.errors import ClusterError

AUTO = "auto"
REACH_SECONDS = 5.0
INSTALL = "Run: pip install 'tabtune-dashboard[ray]'"
SETTINGS = b"\x04"
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + SETTINGS + bytes(5)
"""Of a client, with a frame of empty settings: https://www.rfc-editor.org/rfc/rfc9113#section-3.4"""
OTHER_VERSION = "Version mismatch"
"""How Ray begins to say which versions the cluster and this process have."""
RAYLET = "raylet"
"""Process that Ray has on every machine of a cluster."""


def check(address: str) -> None:
    """That joining is worth a try: Ray itself would try for minutes to reach an address where nothing listens.

    Raises:
        ClusterError: Ray is not installed, or there is no cluster.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"The address {address} is that of a Ray client, which loses its runs when the connection is gone for 30 s. Start the worker on"
            f" a machine of the cluster, with the address '{AUTO}' or that of its head, HOST:6379."
        )
    if (found := find_spec("ray")) is None or found.origin is None:  # None: a folder that happens to be called so
        raise not_installed()
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
    """Whether what listens there may be a head: it speaks gRPC, whose first frame is the settings of HTTP/2."""
    with socket.create_connection((host, port), REACH_SECONDS) as there:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return True
        there.sendall(GREETING)
        return there.recv(9, socket.MSG_WAITALL)[3:4] == SETTINGS


def not_installed() -> ClusterError:
    """What is raised without the package."""
    return ClusterError(f"The executor 'ray' needs the package ray, which is not installed. {INSTALL}")


def no_cluster(address: str, why: BaseException | str) -> ClusterError:
    """What is raised if there is no cluster, or it does not let us in."""
    if OTHER_VERSION in str(why):
        return ClusterError(
            f"The Ray cluster at {address!r} cannot be joined. {' '.join(str(why).split())}. Install the same version of Ray and of Python"
            " on all of its machines; then start the worker again."
        )
    return ClusterError(
        f"There is no Ray cluster to join at {address!r}: {first_line(why)} Start one on this machine with 'ray start --head', or"
        " join one with 'ray start --address HOST:6379'; then start the worker again."
    )


def first_line(error: BaseException | str) -> str:
    """Of what an error says, as a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{(lines or [type(error).__name__])[0].rstrip('.')}."

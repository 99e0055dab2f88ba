"""Sends a message when a sweep has ended, to an address that a person named, such as a chat's. Sends nothing without an
address.

In: sweeps as the worker sees them. Out: one small JSON document per ended sweep, by POST; a message that cannot be
delivered is logged.
"""

import json
import logging
import re
import threading
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from tabtune_core.errors import SettingError
from tabtune_core.store.run_row import ENDED, Sweep

PATIENCE_SECONDS = 10.0

_log = logging.getLogger(__name__)


def checked_address(address: str) -> str:
    """Returns the address unchanged.

    Raises:
        SettingError: it is not an address that a message can be sent to.
    """
    try:
        parts = urlsplit(address)
        whole = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and re.fullmatch(r"[!-~]+", address)
        )
    except ValueError:  # wrong brackets, or a port that is not a number up to 65535
        whole = None
    if not whole:
        raise SettingError(
            f"The address to notify is {address!r}; it must begin with http:// or https:// and name a host."
        )
    return address


class EndMessages:
    """Sends a message for each sweep that was seen running and has nothing more to run."""

    def __init__(self, address: str) -> None:
        self.address = checked_address(address) if address else ""
        self._going: set[str] = set()
        self._sending: list[threading.Thread] = []

    def look(self, sweeps: Sequence[Sweep]) -> None:
        """Compares the sweeps with those of the last call and sends messages in threads of their own; call it
        repeatedly.
        """
        going = {sweep.id for sweep in sweeps if not ENDED.issuperset(sweep.counts)}
        for sweep in sweeps:
            if sweep.id in self._going - going:
                thread = threading.Thread(target=self._send, args=(message(sweep),), daemon=True)
                thread.start()
                self._sending = [*(one for one in self._sending if one.is_alive()), thread]
        self._going = going

    def finish(self) -> None:
        """Waits until all messages have been delivered or have failed."""
        for thread in self._sending:
            thread.join(PATIENCE_SECONDS)

    def _send(self, content: dict[str, Any]) -> None:
        body, headers = json.dumps(content).encode(), {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(self.address, body, headers)
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS):
                pass
        except (
            OSError,
            ValueError,
            HTTPException,
        ) as error:  # an unreachable address or an invalid answer, for example
            _log.warning(
                "The end of sweep %s could not be told to %s: %s",
                content["sweep"],
                urlsplit(self.address).hostname,
                error,
            )


def message(sweep: Sweep) -> dict[str, Any]:
    """Makes the JSON document; chats show its ``text``."""
    counts = {status: number for status, number in sweep.counts.items() if number}
    ended = ", ".join(f"{number} {status}" for status, number in counts.items())
    name = sweep.name or "A sweep"
    return {
        "event": "sweep ended",
        "sweep": sweep.id,
        "name": sweep.name,
        "runs": sum(counts.values()),
        "counts": counts,
        "text": f"LoRA Lab: {name} has ended: {ended}.",
    }

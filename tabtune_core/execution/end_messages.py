"""Sends a small JSON document by POST when a sweep has ended, to an address that a person named, such as a chat's."""

import json
import logging
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
    """Returns the address unchanged; raises SettingError if no message can be sent to it."""
    try:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and address.isascii():
            return address
    except ValueError:  # wrong brackets, or a port that is not a number up to 65535
        pass
    raise SettingError(f"The address to notify is {address!r}; it must begin with http:// or https:// and name a host.")


class EndMessages:
    """Sends a message for each sweep that was seen running and has nothing more to run."""

    def __init__(self, address: str) -> None:
        self.address = checked_address(address) if address else ""
        self._going: set[str] = set()
        self._sending: list[threading.Thread] = []

    def look(self, sweeps: Sequence[Sweep]) -> None:
        """Compares the sweeps with those of the last call, and sends messages in threads of their own."""
        going = {sweep.id for sweep in sweeps if not ENDED.issuperset(sweep.counts)}
        for sweep in sweeps:
            if sweep.id in self._going - going:
                self._sending.append(threading.Thread(target=self._send, args=(message(sweep),), daemon=True))
                self._sending[-1].start()
        self._going = going

    def finish(self) -> None:
        """Waits until all messages have been delivered or have failed."""
        for thread in self._sending:
            thread.join(PATIENCE_SECONDS)

    def _send(self, content: dict[str, Any]) -> None:
        try:
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(self.address, json.dumps(content).encode(), headers)
            urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
        except (OSError, ValueError, HTTPException) as error:
            host = urlsplit(self.address).hostname
            _log.warning("The end of sweep %s could not be told to %s: %s", content["sweep"], host, error)


def message(sweep: Sweep) -> dict[str, Any]:
    """Makes the JSON document; chats show its ``text``."""
    counts = {status: number for status, number in sweep.counts.items() if number}
    ended = ", ".join(f"{number} {status}" for status, number in counts.items())
    text = f"LoRA Lab: {sweep.name or 'A sweep'} has ended: {ended}."
    runs = sum(counts.values())
    return {"event": "sweep ended", "sweep": sweep.id, "name": sweep.name, "runs": runs, "counts": counts, "text": text}

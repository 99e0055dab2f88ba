"""What a run's process does while the disk of its workspace is full, or its database locked: it goes on, and tells later.

In: writes to the store. Out: the same, done at once, when there is room again, or not at all after PATIENCE_SECONDS. A training that only
has to tell how far it is loses nothing by waiting, and what it has learned would be lost by ending; what waits is kept in memory, in order.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from tabtune_core.errors import ShortageError
from tabtune_core.events import Event
from tabtune_core.store.runs import RunStore

PATIENCE_SECONDS = 60.0
"""For somebody, or another run's end, to make room. What does not fit for longer ends the run, which can be resumed."""
AGAIN_SECONDS = 0.5
"""Between two tries."""

Given = TypeVar("Given")


def patiently(write: Callable[[], Given]) -> Given:
    """What ``write`` gives, tried again and again.

    Raises:
        ShortageError: it lacks what does not come back by itself, or has lacked it for too long.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return write()
        except ShortageError as error:
            if not error.passes or time.monotonic() > deadline:
                raise
        time.sleep(AGAIN_SECONDS)


class Teller:
    """Adds events to a run in the order in which they came; from several threads."""

    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._untold = deque[tuple[Event, float]]()
        self._since: float | None = None
        """Monotonic seconds at which the oldest of them could not be told."""
        self._tried = -AGAIN_SECONDS
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Now, or with one of the next events.

        Raises:
            ShortageError: an earlier one has waited for too long.
        """
        with self._lock:
            self._untold.append((event, time.time()))
            if self._since is not None and time.monotonic() - self._tried < AGAIN_SECONDS:
                return
            try:
                self._write()
            except ShortageError as error:
                self._tried = time.monotonic()
                self._since = self._tried if self._since is None else self._since
                if not error.passes or self._tried - self._since > PATIENCE_SECONDS:
                    raise

    def finish(self) -> None:
        """Waits until all is told.

        Raises:
            ShortageError: that took too long.
        """
        with self._lock:
            patiently(self._write)

    def _write(self) -> None:
        while self._untold:
            event, at = self._untold[0]
            self._store.append(self._run_id, event, at)
            self._untold.popleft()
        self._since = None

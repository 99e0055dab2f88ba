"""A run's own time: the seconds that it takes with an empty cache and its own cores.

In: the machine's clock, how long the thread waited for a core, and what the cache saved. Out: seconds. While several
threads compute one result, their waits count as computing, because they spin meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tabtune_core.events import Note

THREADS = Path("/proc/self/task")


def _ran_and_waited(schedstat: Path) -> tuple[float, float]:
    """Returns a thread's seconds on a core and waiting for one (Linux: sched-stats.rst); 0 if nothing counts them."""
    try:
        with schedstat.open("rb", buffering=0) as opened:
            ran, waited = opened.read().split()[:2]
            return 1e-9 * int(ran), 1e-9 * int(waited)
    except (OSError, ValueError):  # the thread has ended, or the kernel does not count
        return 0.0, 0.0


class OwnClock:
    """Seconds since ``start``, less time set aside and waits for a core, plus charged time."""

    def __init__(self, now: Callable[[], float] = time.monotonic, waited: Callable[[], float] = lambda: 0.0) -> None:
        self._machine, self._waited = now, waited
        self._aside_since: float | None = None
        self.start()

    @classmethod
    def of_this_thread(cls) -> "OwnClock":
        """Makes a clock that excludes the calling thread's waits for a core, if the kernel counts them."""
        file = THREADS / str(threading.get_native_id()) / "schedstat"
        return cls(waited=lambda: _ran_and_waited(file)[1])

    def start(self) -> None:
        """Starts counting from 0."""
        self._wall_began, self._waits_began = self._machine(), self._waited()
        self._began, self._set_aside = self._now(), 0.0
        self.charged_seconds = 0.0
        """Seconds of arrays that other runs had made and this one used."""

    def go_on(self, seconds: float, charged_seconds: float, wall_seconds: float, waits: float) -> None:
        """Continues the count of an earlier process: ``seconds`` include ``charged_seconds`` but not ``waits``."""
        self.start()
        self._began -= seconds - charged_seconds
        self._wall_began -= wall_seconds
        self._waits_began -= waits
        self.charged_seconds = charged_seconds

    def _now(self) -> float:
        return self._machine() - self._waited()

    @property
    def wall_seconds(self) -> float:
        """Returns the elapsed time since ``start``, without charged seconds."""
        return self._machine() - self._wall_began

    @property
    def waited_seconds(self) -> float:
        """Returns the seconds waited for a core since ``start``."""
        return self._waited() - self._waits_began

    @property
    def seconds(self) -> float:
        """Returns the run's own seconds; they stand still inside ``aside``."""
        now = self._now() if self._aside_since is None else self._aside_since
        return max(now - self._began - self._set_aside + self.charged_seconds, 0.0)  # waits are measured less precisely

    def is_past(self, limit: float | None) -> bool:
        """Whether ``limit`` seconds are over, including waits for a core; false without a limit."""
        return limit is not None and self.seconds + self.waited_seconds >= limit

    def charge(self, seconds: float) -> None:
        """Adds the seconds of an array that another run made."""
        self.charged_seconds += seconds

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Excludes bookkeeping from the run's time: hashing, files, events, reading the store. May be nested."""
        if self._aside_since is not None:
            yield
            return
        self._aside_since = self._now()
        try:
            yield
        finally:
            self._set_aside += self._now() - self._aside_since
            self._aside_since = None


DISTURBED = "The run was disturbed"
"""How the note of such a run begins."""
WORTH_SAYING = 0.1
"""Least share of waits in a run's time that is reported."""
LEAST_SECONDS = 1.0


def disturbed(threads: Path = THREADS) -> Note | None:
    """Returns the note at the end of a run whose threads often waited for a core; None for any other run."""
    every = [_ran_and_waited(file) for file in threads.glob("*/schedstat")]
    ran, waited = (sum(seconds) for seconds in zip((0.0, 0.0), *every, strict=True))
    if waited < LEAST_SECONDS or waited < WORTH_SAYING * (ran + waited):
        return None
    return Note(
        f"{DISTURBED}: its threads computed for {ran:,.0f} s and waited {waited:,.0f} s for a core that others used, "
        "so its training time may be too long and cannot be compared with that of other runs.",
        "warning",
    )

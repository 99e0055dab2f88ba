"""A run's own time, which depends neither on what earlier runs left in the folder of shared arrays nor on what else its cores compute.

In: a clock of the machine, and how long its thread waited for a core; what sharing costs, and what it saves. Out: the seconds that the same
training takes with an empty folder and cores of its own. Waits of other threads, as in a sum that several of them compute, count as
computing: they spin meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tabtune_core.events import Note


def waits_of_this_thread() -> Callable[[], float]:
    """How many seconds the thread that calls this has been ready and waited for a core that others used; 0 where nothing counts that."""
    file = f"/proc/self/task/{threading.get_native_id()}/schedstat"  # Documentation/scheduler/sched-stats.rst

    def waited() -> float:
        try:
            with open(file, "rb", buffering=0) as opened:
                return 1e-9 * int(opened.read().split()[1])
        except (OSError, ValueError, IndexError):
            return 0.0

    return waited


class OwnClock:
    """Seconds since ``start``, less what is set aside and what was waited for a core, plus what is charged."""

    def __init__(self, now: Callable[[], float] = time.monotonic, waited: Callable[[], float] = lambda: 0.0) -> None:
        self._machine, self._waited = now, waited
        self._aside_since: float | None = None
        self.start()

    @classmethod
    def of_this_thread(cls) -> "OwnClock":
        """Without the waits of the thread that calls this."""
        return cls(waited=waits_of_this_thread())

    def start(self) -> None:
        """Training begins here."""
        self._wall_began, self._waits_began = self._machine(), self._waited()
        self._began, self._set_aside = self._now(), 0.0
        self.charged_seconds, self.charged_waits = 0.0, 0.0
        """Seconds since ``start`` that others had computed and this run used, and that they had waited for a core."""

    def go_on(self, seconds: float, charged_seconds: float, wall_seconds: float, waits: float = 0.0, charged_waits: float = 0.0) -> None:
        """Training goes on here that took ``seconds`` in an earlier process, what was charged there among them, and waited besides."""
        self.start()
        self._began -= seconds - charged_seconds
        self._wall_began -= wall_seconds
        self._waits_began -= waits
        self.charged_seconds, self.charged_waits = charged_seconds, charged_waits

    def _now(self) -> float:
        return self._machine() - self._waited()

    @property
    def wall_seconds(self) -> float:
        """Elapsed time for the person: everything but the charged seconds."""
        return self._machine() - self._wall_began

    @property
    def waited_seconds(self) -> float:
        """Seconds waited for a core."""
        return self._waited() - self._waits_began

    @property
    def seconds(self) -> float:
        """The run's own; they stand still while something is set aside."""
        now = self._now() if self._aside_since is None else self._aside_since
        return max(now - self._began - self._set_aside + self.charged_seconds, 0.0)  # waits are counted more coarsely

    def is_past(self, limit: float | None) -> bool:
        """Whether so many seconds are over, waits for a core included; never without a limit."""
        return limit is not None and self.seconds + self.waited_seconds >= limit

    def charge(self, seconds: float, waits: float = 0.0) -> None:
        """Adds what an array cost whoever made it, and notes what that run had waited for a core beside."""
        self.charged_seconds += seconds
        self.charged_waits += waits

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Excludes bookkeeping from the run's time: hashing, files, events, questions to the store. May be nested."""
        if self._aside_since is not None:
            yield
            return
        self._aside_since = self._now()
        try:
            yield
        finally:
            self._set_aside += self._now() - self._aside_since
            self._aside_since = None


THREADS = Path("/proc/self/task")
WORTH_SAYING = 0.1
"""Share of the time in which a run could have computed."""
LEAST_SECONDS = 1.0
LATE_SECONDS = 5.0
"""By which no thread wakes late in a process that goes on."""


class Standstill:
    """How long the whole process stood still, as seen by a thread that slept meanwhile: it was sent STOP, or its machine was paused."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        """Sleeps, and counts by how much longer that took."""
        began = time.monotonic()
        time.sleep(seconds)
        late = time.monotonic() - began - seconds
        self.seconds += late if late > LATE_SECONDS else 0.0

    def note(self) -> Note | None:
        """For the end of a run, whose times hold these seconds."""
        if not self.seconds:
            return None
        return Note(
            f"The run's process stood still for about {self.seconds:,.0f} s: it was suspended, or its machine was. Its times hold these"
            " seconds, and do not compare with those of other runs.",
            "warning",
        )


def disturbed(threads: Path = THREADS) -> Note | None:
    """For the end of a run: by its own waiting, as the load of a machine says nothing of the cores that the run is held to."""
    ran = waited = 0.0
    for file in threads.glob("*/schedstat"):  # nanoseconds on a core, and ready to be: Documentation/scheduler/sched-stats.rst
        try:
            on_core, ready, _ = file.read_text().split()
        except (OSError, ValueError):  # the thread has ended, or a kernel that does not count
            continue
        ran, waited = ran + 1e-9 * int(on_core), waited + 1e-9 * int(ready)
    if waited < LEAST_SECONDS or waited < WORTH_SAYING * (ran + waited):
        return None
    return Note(
        f"The run was disturbed: its threads computed for {ran:,.0f} s and waited {waited:,.0f} s for a core that others used. What the"
        " thread that trains waited does not count as training time; where several threads compute one sum, that time is longer than"
        " without the others, and does not compare with that of other runs.",
        "warning",
    )

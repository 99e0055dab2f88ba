"""A run's own time, which does not depend on what earlier runs left in the folder of shared arrays.

In: a clock of the machine; what sharing costs, and what it saves. Out: the seconds that the same training takes with an empty folder.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class OwnClock:
    """Seconds since ``start``, less what is set aside, plus what is charged."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._aside_since: float | None = None
        self.start()

    def start(self) -> None:
        """Training begins here."""
        self._began, self._set_aside = self._now(), 0.0
        self.charged_seconds = 0.0
        """What others had computed and this run used, since ``start``."""

    def go_on(self, seconds: float, charged_seconds: float) -> None:
        """Training goes on here that took ``seconds`` in an earlier process, what was charged there among them."""
        self.start()
        self._began -= seconds - charged_seconds
        self.charged_seconds = charged_seconds

    @property
    def seconds(self) -> float:
        """The run's own; they stand still while something is set aside."""
        now = self._now() if self._aside_since is None else self._aside_since
        return now - self._began - self._set_aside + self.charged_seconds

    def is_past(self, limit: float | None) -> bool:
        """Whether so many seconds are over; never without a limit."""
        return limit is not None and self.seconds >= limit

    def charge(self, seconds: float) -> None:
        """Adds what an array cost whoever made it."""
        self.charged_seconds += seconds

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is done within is bookkeeping: hashing, files, events, questions to the store. Nobody's own time. May be nested."""
        if self._aside_since is not None:
            yield
            return
        self._aside_since = self._now()
        try:
            yield
        finally:
            self._set_aside += self._now() - self._aside_since
            self._aside_since = None

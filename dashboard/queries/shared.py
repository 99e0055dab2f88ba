"""What is computed once for all tabs: a cache with an end to its entries and its bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Shared(Generic[Value]):
    """Values by key, made by the first who asks, while others who ask for the same wait. The ones least lately asked for go first.

    ``size_bytes`` says what a value holds, as it is when it has been made.
    """

    def __init__(self, *, most_entries: int, most_bytes: float, size_bytes: Callable[[Value], int]) -> None:
        self._most_entries, self._most_bytes, self._size_bytes = most_entries, most_bytes, size_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, Future[Value]] = OrderedDict()
        self._bytes: dict[Hashable, int] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; an error of ``make`` is raised for all who wait, and not kept.

        Where the script that makes it is stopped meanwhile, as by a click in its tab, the next who waits makes it.
        """
        with self._lock:
            future = self._held.get(key)
            if future is None:
                mine = self._held[key] = Future()
            else:
                self._held.move_to_end(key)
        if future is not None:
            try:
                return future.result()
            except CancelledError:
                return self.get(key, make)
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                self._held.pop(key, None)
            if isinstance(error, Exception):
                mine.set_exception(error)
            else:
                mine.cancel()
            raise
        mine.set_result(value)
        self.weigh(key, value)
        return value

    def weigh(self, key: Hashable, value: Value) -> None:
        """Notes what a value holds now, for one that grows, and lets others go where there is too much."""
        with self._lock:
            if key not in self._held:
                return
            self._bytes[key] = self._size_bytes(value)
            while len(self._held) > self._most_entries or sum(self._bytes.values()) > self._most_bytes:
                oldest = next(iter(self._held))
                if oldest == key:
                    break
                self._drop(oldest)

    def let_go(self, gone: Callable[[Any], bool]) -> None:
        """Drops the keys that ``gone`` says so of."""
        with self._lock:
            for key in [key for key in self._held if gone(key)]:
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        del self._held[key]
        self._bytes.pop(key, None)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def bytes(self) -> int:
        """What all values hold."""
        return sum(self._bytes.values())

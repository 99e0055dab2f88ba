"""Slows down whoever guesses: each wrong answer of an address takes longer than the one before, and few wait at once.

A right answer of an address that was wrong a few times is never kept waiting, and who has the cookie never comes here. One that goes on
guessing is told nothing while its guesses wait, right or wrong: else it could guess as quickly as it is refused.
"""

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable

FIRST_SECONDS, LONGEST_SECONDS = 0.5, 8.0
FORGOTTEN_SECONDS = 900.0
GUESSER = 12
"""Wrong answers after which an address is taken for one that guesses."""
MOST_WAITING, MOST_WAITING_IN_ALL = 4, 64
MOST_KNOWN = 10_000
"""Addresses that are remembered, the latest."""


class Slowdown:
    """One a server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """How often each address was wrong, and when last."""
        self._waiting: Counter[str] = Counter()

    async def admits(self, address: str, *, right: bool) -> bool:
        """Whether an answer may be looked at; a wrong one is noted and waits first, longer each time, while other requests go on.

        False: the address must come again later, as too many of its guesses wait, or too many of all and it has been wrong before.
        """
        name = _network(address)
        times = self._times(name)
        if right and times < GUESSER:
            return True
        full = self._waiting[name] >= MOST_WAITING or (self._waiting.total() >= MOST_WAITING_IN_ALL and times > 0)
        if right:
            return not full
        self._wrong[name] = (times + 1, self._clock())
        self._wrong.move_to_end(name)
        while len(self._wrong) > MOST_KNOWN:
            self._wrong.popitem(last=False)
        if full:
            return False
        self._waiting[name] += 1
        try:
            await self._sleep(min(FIRST_SECONDS * 2 ** min(times, 10), LONGEST_SECONDS))
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]
        return True

    def _times(self, name: str) -> int:
        times, last = self._wrong.get(name, (0, 0.0))
        return times if self._clock() - last < FORGOTTEN_SECONDS else 0


def _network(address: str) -> str:
    """An IPv4 address, or the /64 that one machine has of IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))

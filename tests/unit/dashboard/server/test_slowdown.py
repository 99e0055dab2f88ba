"""Whoever guesses tokens waits longer and longer; whoever has one does not."""

import asyncio

from dashboard.server.slowdown import LONGEST_SECONDS, MOST_WAITING, MOST_WAITING_IN_ALL, Slowdown


class World:
    """A clock, and sleepers that are let go by hand."""

    def __init__(self):
        self.now, self.slept, self.open = 0.0, [], asyncio.Event()
        self.slowdown = Slowdown(lambda: self.now, self.sleep)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await self.open.wait()

    async def guess(self, address, times=1):
        tasks = [asyncio.create_task(self.slowdown.wrong(address)) for _ in range(times)]
        await asyncio.sleep(0)
        return tasks


def test_each_wrong_guess_waits_longer_until_it_is_forgotten():
    async def story():
        world = World()
        world.open.set()
        for _ in range(8):
            await world.slowdown.wrong("192.0.2.1")
        assert world.slept == sorted(world.slept)
        assert (world.slept[0], world.slept[-1]) == (0.5, LONGEST_SECONDS)
        world.now = 1e6
        await world.slowdown.wrong("192.0.2.1")
        assert world.slept[-1] == 0.5

    asyncio.run(story())


def test_few_guesses_of_an_address_wait_at_once_and_others_are_free():
    async def story():
        world = World()
        tasks = await world.guess("2001:db8::1", MOST_WAITING)
        assert world.slowdown.is_full("2001:db8::ffff")  # the same /64
        assert not world.slowdown.is_full("2001:db8:1::1")
        world.open.set()
        await asyncio.gather(*tasks)
        assert not world.slowdown.is_full("2001:db8::1")

    asyncio.run(story())


def test_where_many_guess_a_new_address_may_still_try():
    async def story():
        world = World()
        tasks = [task for place in range(MOST_WAITING_IN_ALL) for task in await world.guess(f"192.0.2.{place}")]
        assert world.slowdown.is_full("192.0.2.7")
        assert not world.slowdown.is_full("198.51.100.1")
        world.open.set()
        await asyncio.gather(*tasks)

    asyncio.run(story())

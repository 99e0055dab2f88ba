"""Guessing tokens takes longer and longer; having the right one does not."""

import asyncio

from dashboard.server.guard import GUESSER, LONGEST_SECONDS, MOST_WAITING, MOST_WAITING_IN_ALL, Slowdown


class World:
    """A clock, and sleepers that are released by hand."""

    def __init__(self):
        self.now, self.slept, self.open = 0.0, [], asyncio.Event()
        self.slowdown = Slowdown(lambda: self.now, self.sleep)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await self.open.wait()

    async def guess(self, address, times=1):
        tasks = [asyncio.create_task(self.slowdown.admits(address, right=False)) for _ in range(times)]
        await asyncio.sleep(0)
        return tasks


def test_each_wrong_guess_waits_longer_until_earlier_ones_are_forgotten():
    async def story():
        world = World()
        world.open.set()
        for _ in range(8):
            await world.slowdown.admits("192.0.2.1", right=False)
        assert world.slept == sorted(world.slept)
        assert (world.slept[0], world.slept[-1]) == (0.5, LONGEST_SECONDS)
        world.now = 1e6
        await world.slowdown.admits("192.0.2.1", right=False)
        assert world.slept[-1] == 0.5

    asyncio.run(story())


def test_too_many_waiting_guesses_are_refused_but_the_right_token_of_that_address_gets_in():
    async def story():
        world = World()
        tasks = await world.guess("2001:db8::1", MOST_WAITING)
        assert not await world.slowdown.admits("2001:db8::ffff", right=False), "the same /64"
        assert await world.slowdown.admits("2001:db8::ffff", right=True)
        assert len(await world.guess("2001:db8:1::1")) == len(world.slept) - MOST_WAITING
        world.open.set()
        assert await asyncio.gather(*tasks) == [True] * MOST_WAITING

    asyncio.run(story())


def test_further_guesses_learn_nothing_while_earlier_ones_wait_even_if_right():
    async def story():
        world = World()
        await world.guess("192.0.2.1", GUESSER)
        assert len(world.slept) == MOST_WAITING
        assert not await world.slowdown.admits("192.0.2.1", right=True)
        world.open.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await world.slowdown.admits("192.0.2.1", right=True)

    asyncio.run(story())


def test_when_many_guess_known_wrong_addresses_are_refused_and_new_ones_may_try():
    async def story():
        world = World()
        for place in range(MOST_WAITING_IN_ALL):
            await world.guess(f"192.0.2.{place}")
        assert not await world.slowdown.admits("192.0.2.7", right=False)
        (other,) = await world.guess("198.51.100.1")
        assert not other.done()
        world.open.set()
        assert await other

    asyncio.run(story())

"""Whoever guesses tokens waits longer and longer; whoever has one does not."""

import asyncio

from dashboard.server.guard import GUESSER, LONGEST_SECONDS, MOST_WAITING, MOST_WAITING_IN_ALL, Slowdown


class World:
    """A clock, and sleepers that are let go by hand."""

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


def test_each_wrong_guess_waits_longer_until_it_is_forgotten():
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


def test_a_guess_beyond_the_few_that_wait_is_refused_and_the_right_token_of_the_same_address_gets_in():
    async def story():
        world = World()
        tasks = await world.guess("2001:db8::1", MOST_WAITING)
        assert not await world.slowdown.admits("2001:db8::ffff", right=False), "the same /64"
        assert await world.slowdown.admits("2001:db8::ffff", right=True)
        assert len(await world.guess("2001:db8:1::1")) == len(world.slept) - MOST_WAITING
        world.open.set()
        assert await asyncio.gather(*tasks) == [True] * MOST_WAITING

    asyncio.run(story())


def test_whoever_guesses_on_learns_nothing_while_its_guesses_wait_even_from_the_right_one():
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


def test_where_many_guess_an_address_that_was_wrong_before_is_refused_and_a_new_one_may_still_try():
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

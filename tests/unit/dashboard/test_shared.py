"""Values that are computed once for all tabs, within bounds."""

import threading

import pytest

from dashboard.queries.curves import LEAST_BYTES, Shared


class Sized:
    def __init__(self, size_bytes):
        self.size_bytes = size_bytes - LEAST_BYTES


def test_a_value_requested_by_many_at_once_is_computed_once():
    held, made, begun = Shared(), [], threading.Event()

    def make():
        begun.set()
        asking.wait()
        made.append(1)
        return "value"

    asking = threading.Barrier(2)
    found = []
    threads = [threading.Thread(target=lambda: found.append(held.get("key", make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    begun.wait()
    asking.wait()
    for thread in threads:
        thread.join()
    assert (found, made) == (["value"] * 8, [1])


def test_an_error_is_raised_and_the_next_request_tries_again():
    held = Shared()
    with pytest.raises(ZeroDivisionError):
        held.get("key", lambda: 1 / 0)
    assert held.get("key", lambda: "value") == "value"


def test_the_least_recently_used_values_are_dropped_first():
    held = Shared(most_bytes=2 * LEAST_BYTES)
    for key in ("a", "b", "a", "c"):
        held.get(key, lambda key=key: ord(key))
    assert held.get("a", lambda: 0) == ord("a")
    assert held.get("b", lambda: 0) == 0
    assert held.bytes == 2 * LEAST_BYTES


def test_the_total_bytes_are_bounded_even_when_values_grow():
    held = Shared(most_bytes=100_000)
    growing = held.get("a", lambda: Sized(10_000))
    for key in "bcdef":
        held.get(key, lambda: Sized(18_000))
    assert held.bytes == 100_000
    growing.size_bytes += 40_000
    held.get("a", lambda: growing)
    held.weigh("a", growing)
    assert held.bytes <= 100_000
    assert held.get("a", lambda: None) is growing


def test_a_value_larger_than_the_limit_is_still_returned():
    large = Sized(200_000)
    assert Shared(most_bytes=100_000).get("a", lambda: large) is large


def test_a_tab_stopped_while_computing_a_value_stops_no_other_tab():
    held, begun, stop, seen = Shared(), threading.Event(), threading.Event(), []

    def stopped():
        begun.set()
        stop.wait()
        raise SystemExit  # like the exceptions by which Streamlit ends a script, not a subclass of Exception

    def in_a_tab():
        with pytest.raises(SystemExit):
            held.get("key", stopped)
        seen.append("stopped")

    first = threading.Thread(target=in_a_tab)
    first.start()
    begun.wait()
    second = threading.Thread(target=lambda: seen.append(held.get("key", lambda: "value")))
    second.start()
    stop.set()
    first.join()
    second.join()
    assert sorted(seen) == ["stopped", "value"]
    assert held.get("key", lambda: "another") == "value"

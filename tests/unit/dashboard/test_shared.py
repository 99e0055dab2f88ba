"""What is computed once for all tabs, within bounds."""

import threading

import pytest

from dashboard.queries.shared import Shared


def cache(**more):
    return Shared(**({"most_entries": 10, "most_bytes": 1e9} | more), size_bytes=len)


def test_what_many_ask_for_at_once_is_made_once():
    held, made, begun = cache(), [], threading.Event()

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


def test_what_went_wrong_is_told_and_tried_again():
    held = cache()
    with pytest.raises(ZeroDivisionError):
        held.get("key", lambda: 1 / 0)
    assert held.get("key", lambda: "value") == "value"


def test_the_least_lately_asked_for_go_first():
    held = cache(most_entries=2)
    for key in ("a", "b", "a", "c"):
        held.get(key, lambda key=key: key)
    assert held.get("a", lambda: "anew") == "a"
    assert held.get("b", lambda: "anew") == "anew"
    assert len(held) == 2


def test_the_bytes_are_bounded_also_of_what_grows():
    held = cache(most_bytes=100)
    growing = held.get("a", lambda: bytearray(10))
    for key in "bcdef":
        held.get(key, lambda: bytearray(18))
    assert held.bytes == 100
    growing.extend(bytes(40))
    held.get("a", lambda: growing)
    held.weigh("a", growing)
    assert held.bytes <= 100
    assert held.get("a", lambda: None) is growing


def test_one_value_that_is_larger_than_all_may_be_is_still_given():
    assert len(cache(most_bytes=100).get("a", lambda: bytes(200))) == 200


def test_keys_can_be_let_go():
    held = cache()
    for key in ("a", "b"):
        held.get(key, lambda key=key: key)
    held.let_go(lambda key: key == "a")
    assert (len(held), held.bytes) == (1, 1)


def test_a_tab_that_is_stopped_while_it_makes_a_value_stops_no_other():
    held, begun, stop, seen = cache(), threading.Event(), threading.Event(), []

    def stopped():
        begun.set()
        stop.wait()
        raise SystemExit  # like the exceptions by which Streamlit ends a script, it is no Exception

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

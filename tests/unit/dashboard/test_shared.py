"""Values that are computed once for all tabs, within bounds."""

import threading

import pytest

from dashboard.queries import curves
from dashboard.queries.curves import Shared


def test_a_value_that_many_ask_for_at_once_is_made_once():
    held, made, found = Shared(), [], []

    def make():
        made.append(1)
        return "value"

    threads = [threading.Thread(target=lambda: found.append(held.get("key", make))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, made) == (["value"] * 8, [1])


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])  # Streamlit ends a script in the second way
def test_an_error_is_raised_and_the_next_request_tries_again(error):
    def fail():
        raise error

    held = Shared()
    with pytest.raises(error):
        held.get("key", fail)
    assert held.get("key", lambda: "value") == "value"


def test_the_least_recently_used_values_are_dropped_first(monkeypatch):
    monkeypatch.setattr(curves, "MOST_VALUES", 2)
    held = Shared()
    for key in ("a", "b", "a", "c"):
        held.get(key, lambda key=key: ord(key))
    assert held.get("a", lambda: 0) == ord("a")
    assert held.get("b", lambda: 0) == 0

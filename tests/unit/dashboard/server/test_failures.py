"""Shortages are said in one sentence on each page."""

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.server.application import application, show_error
from tabtune_core.access import decide


def page(number):
    import os

    from dashboard.server.application import show_error

    error = OSError(number, os.strerror(number), "/tmp/a") if number else KeyError("a mistake of ours")
    assert show_error(error) == bool(number)


@pytest.mark.parametrize(
    ("number", "said"), [(28, "The disk of /tmp/a is full"), (30, "read-only"), (5, "full or damaged"), (12, "memory")]
)
def test_a_page_names_the_missing_resource(number, said):
    app = AppTest.from_function(page, args=(number,)).run(timeout=30)
    assert not app.exception
    (shown,) = app.error
    assert said in str(shown.value).replace("\\", "")


def test_a_programming_error_is_left_to_streamlit():
    app = AppTest.from_function(page, args=(0,)).run(timeout=30)
    assert not app.exception
    assert not app.error


def test_every_page_says_it():
    assert application(decide("127.0.0.1"))._on_script_error is show_error

"""Shortages are said in one sentence on each page and address, and closed tabs leave nothing behind."""

from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.testclient import TestClient
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.session_manager import SessionInfo
from streamlit.testing.v1 import AppTest

from dashboard.server.application import HANDLERS, answer_error, application, end_closed, show_error
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


def test_every_page_and_address_of_the_application_is_covered():
    made = application(decide("127.0.0.1"))
    assert made._on_script_error is show_error
    assert made._exception_handlers == HANDLERS


def test_an_upload_that_breaks_off_leaves_no_trace():
    async def broken_off(request):
        raise ClientDisconnect

    client = TestClient(Starlette(routes=[Route("/", broken_off)], exception_handlers=HANDLERS))
    assert client.get("/").status_code == 499


def test_a_plain_request_is_answered_with_the_sentence():
    answered = answer_error(None, OSError(28, "No space left on device", "/tmp/a"))
    assert answered.status_code == 507
    assert b"The disk of /tmp/a is full" in answered.body
    with pytest.raises(FileNotFoundError):
        answer_error(None, FileNotFoundError(2, "No such file or directory"))


@pytest.mark.parametrize(("seconds", "left"), [(0, 0), (600, 1)])
def test_a_session_ends_some_time_after_its_tab_was_closed(seconds, left):
    ended, storage = [], MemorySessionStorage(ttl_seconds=seconds)
    storage.save(SessionInfo(None, SimpleNamespace(id="a", shutdown=lambda: ended.append("a"))))
    end_closed(storage)
    assert (len(storage.list()), len(ended)) == (left, 1 - left)
    end_closed(None)

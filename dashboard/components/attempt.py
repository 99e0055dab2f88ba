"""What a click asks of the store."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from tabtune_core.errors import TabTuneError

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def attempt(change: Callable[Asked, Answer], *args: Asked.args, **more: Asked.kwargs) -> Answer | None:
    """The answer to a change; a refusal, as for what is another person's or was deleted in another tab, is said, and the answer None."""
    try:
        return change(*args, **more)
    except TabTuneError as error:
        st.toast(plain(str(error)))
        return None


def queue(change: Callable[Asked, Answer], *args: Asked.args, **more: Asked.kwargs) -> Answer | None:
    """The same for a change that gives the worker something to do."""
    answer = attempt(change, *args, **more)
    queries.keep_worker()
    return answer

"""A part of a page that is drawn again by itself, while the rest stays."""

import functools
from collections.abc import Callable
from typing import ParamSpec

import streamlit as st

from dashboard.formatting import plain
from tabtune_core.errors import TabTuneError

Given = ParamSpec("Given")


def said(draw: Callable[Given, None]) -> Callable[Given, None]:
    """Says an error in the place of what is drawn, as of a database that is damaged or a disk that is full."""

    @functools.wraps(draw)
    def drawn(*args: Given.args, **more: Given.kwargs) -> None:
        try:
            draw(*args, **more)
        except TabTuneError as error:
            st.error(plain(str(error)), icon=":material/error:")

    return drawn


def page_part(every: float | None = None) -> Callable[[Callable[Given, None]], Callable[Given, None]]:
    """For what is drawn again every so many seconds, and after a click in it, when the page that would say an error is not."""
    return lambda draw: st.fragment(said(draw), run_every=every)

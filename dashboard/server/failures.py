"""What a person sees where the machine lacks something, whichever page or part of a page it was: a sentence, and no trace.

In: what no page has caught. Out: the sentence in its place on the page, or as the answer to a plain request. The log has the trace.
"""

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from dashboard.formatting import plain
from tabtune_core.errors import ShortageError, TabTuneError
from tabtune_core.shortage import shortage_of
from tabtune_core.store.runs import default_home

INSUFFICIENT_STORAGE = 507
"""https://www.rfc-editor.org/rfc/rfc4918, section 11.5."""


def show(error: Exception) -> bool:
    """Draws an error that is meant for people; False for a mistake of ours, which Streamlit shows in its own way."""
    told = error if isinstance(error, TabTuneError) else shortage_of(error, folder=default_home())
    if told is None:
        return False
    st.error(plain(str(told)), icon=":material/warning:")
    return True


def answer(request: Request, error: Exception) -> Response:
    """Answers a request for something other than a page."""
    told = shortage_of(error, folder=default_home())
    if told is None:
        raise error
    return PlainTextResponse(str(told), status_code=INSUFFICIENT_STORAGE)


HANDLERS = {ShortageError: answer, OSError: answer, MemoryError: answer}

"""The log-in in front of the pages, on a server that was started with ``--login``.

``dashboard.server.guard`` keeps what no page script watches over.
"""

import os
from collections.abc import Mapping

import streamlit as st

from dashboard.formatting import plain
from dashboard.server.access import LOGIN_VARIABLE, listed_emails
from dashboard.server.guard import admitted


def log_in_first() -> None:
    """Goes on where nobody is asked to log in or the person has; else asks, and stops the page."""
    if not os.environ.get(LOGIN_VARIABLE):
        return
    emails = listed_emails(st.secrets.to_dict())
    user = st.user.to_dict()
    if admitted(user, emails):
        return
    st.title("LoRA Lab")
    if user.get("is_logged_in"):
        st.error(f"{plain(str(user.get('email', 'This account')))} may not use this server. Ask the person who runs it.")
        st.button("Log out", on_click=st.logout, icon=":material/logout:")
        st.stop()
    st.markdown("Log in to go on.")
    providers = [name for name, values in st.secrets["auth"].items() if isinstance(values, Mapping)]
    for name in providers or [None]:
        st.button(
            f"Log in with {name}" if name else "Log in",
            on_click=st.login,
            args=(name,) if name else (),
            type="primary",
            icon=":material/login:",
        )
    st.stop()

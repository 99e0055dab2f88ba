"""A person who has logged in, for tests of pages and of what they call."""

import streamlit as st

from tabtune_core.access import LOGIN_VARIABLE


class Told:
    """What Streamlit gives as a user or as secrets."""

    def __init__(self, values):
        self.values = values

    def to_dict(self):
        return self.values


def sign_in(monkeypatch, email, **tabtune):
    """From here on the pages are looked at by this person; ``tabtune`` is that section of the secrets."""
    monkeypatch.setenv(LOGIN_VARIABLE, "1")
    monkeypatch.setattr(st, "user", Told({"is_logged_in": True, "email": email}))
    monkeypatch.setattr(st, "secrets", Told({"auth": {}, "tabtune": tabtune}))

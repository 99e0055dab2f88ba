"""A logged-in person, for tests of pages and the code behind them."""

import streamlit as st

from tabtune_core.access import LOGIN_VARIABLE


class Told:
    """Stands in for Streamlit's user or secrets."""

    def __init__(self, values):
        self.values = values

    def to_dict(self):
        return self.values


def sign_in(monkeypatch, email, **tabtune):
    """Logs this person in; ``tabtune`` is that section of the secrets."""
    monkeypatch.setenv(LOGIN_VARIABLE, "1")
    monkeypatch.setattr(st, "user", Told({"is_logged_in": True, "email": email}))
    monkeypatch.setattr(st, "secrets", Told({"auth": {}, "tabtune": tabtune}))

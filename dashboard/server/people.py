"""Owners, on a server where people log in: who is looking at a page, and what they may change.

In: the log-in of the current page script, and Streamlit's secrets. Out: a name to record, and permission or a refusal.
Without log-in, people have no names and may change everything.
"""

import os
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.server.guard import email_of
from tabtune_core.access import LOGIN_VARIABLE, Rules
from tabtune_core.errors import StoreError


class NotYoursError(StoreError):
    """A person asked to change what belongs to another person."""


def people_log_in() -> bool:
    """Returns True if the server asks for a log-in, so that things have owners."""
    return bool(os.environ.get(LOGIN_VARIABLE))


def person() -> str:
    """Returns the name of the person who is looking at the page, as recorded for what they add; empty without log-in."""
    return name_of(st.user.to_dict()) if people_log_in() else ""


def name_of(user: Mapping[str, Any]) -> str:
    """Returns the e-mail address in lower case; without one, the provider's id for the person and the provider's
    address.
    """
    if email := email_of(user):
        return email
    subject = str(user.get("sub", ""))
    return f"{subject} of {user.get('iss', 'the provider')}" if subject else ""


def may_change(owner: str) -> bool:
    """Returns True if the person may delete, stop, rename or otherwise change what belongs to ``owner`` (empty if not
    known).
    """
    if not people_log_in():
        return True
    rules, name = Rules.of(st.secrets.to_dict()), person()
    if name and (name == owner or name in rules.admins):
        return True
    return not owner and rules.unowned_open


def check_may_change(owner: str) -> None:
    """Refuses what ``may_change`` denies.

    Raises:
        NotYoursError: names the owner and says who can help.
    """
    if not may_change(owner):
        raise NotYoursError(f"{whose(owner)} {WHO_MAY}")


def whose(owner: str) -> str:
    """Returns a sentence about the owner."""
    if owner:
        return f"It belongs to {owner}."
    return "It has no owner: it comes from the command line or was created before log-in was switched on."


WHO_MAY = "Only its owner and the admins of this server can change or delete it."


def by(owner: str) -> str:
    """Returns the owner as an addition to a title in a list; empty without log-in or without a known owner."""
    return f" · {' '.join(owner.split())}" if owner and people_log_in() else ""

"""Owners, on a server where people log in: who looks at a page, and which things of others they may change.

In: the log-in of the page script that asks, and the sections of Streamlit's secrets. Out: a name to record, and a yes or a refusal.
Without a log-in people have no names and may change everything.
"""

import os
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.server.guard import email_of
from tabtune_core.access import LOGIN_VARIABLE, listed_admins, unowned_is_open
from tabtune_core.errors import StoreError


class NotYoursError(StoreError):
    """A person asked to change what belongs to another person."""


def people_log_in() -> bool:
    """Whether there are owners at all."""
    return bool(os.environ.get(LOGIN_VARIABLE))


def person() -> str:
    """Who looks at the page, as recorded for what they add; empty if people do not log in."""
    return name_of(st.user.to_dict()) if people_log_in() else ""


def name_of(user: Mapping[str, Any]) -> str:
    """The e-mail address in small letters; without one, the provider's own number for the person with the provider's address."""
    if email := email_of(user):
        return email
    subject = str(user.get("sub", ""))
    return f"{subject} of {user.get('iss', 'the provider')}" if subject else ""


def may_change(owner: str) -> bool:
    """Whether the person may delete, stop, rename or else change what belongs to ``owner``; empty if the owner is not known."""
    if not people_log_in():
        return True
    secrets, name = st.secrets.to_dict(), person()
    if name and (name == owner or name in listed_admins(secrets)):
        return True
    return not owner and unowned_is_open(secrets)


def check_may_change(owner: str) -> None:
    """Refuses what ``may_change`` denies.

    Raises:
        NotYoursError: saying whose it is and who can help.
    """
    if not may_change(owner):
        raise NotYoursError(f"{whose(owner)} {WHO_MAY}")


def whose(owner: str) -> str:
    """A sentence about who owns a thing."""
    return f"It belongs to {owner}." if owner else "It has no owner: it comes from the command line or from before log-in was switched on."


WHO_MAY = "Only its owner and the admins of this server can change or delete it."


def by(owner: str) -> str:
    """What a list adds to the name of a thing where people log in; empty if the owner is not known."""
    return f" · {' '.join(owner.split())}" if owner and people_log_in() else ""

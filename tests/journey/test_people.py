"""A workspace of several people: pages show owners, and nobody can change what another person owns."""

import pytest
import seeding
import streamlit as st
from page_steps import button, go, texts
from signed_in import Told, sign_in

from dashboard.formatting import plain
from dashboard.queries.workspace import OwnedStore
from tabtune_core.access import LOGIN_VARIABLE
from tabtune_core.data.datasets import add_sample

ANN, BOB = "ann_[x](http://x.example)_@example.org", "bob@example.org"


@pytest.fixture
def hers(home, monkeypatch):
    """A sweep of Ann on her table, with ended, running and queued runs; its id."""
    sign_in(monkeypatch, ANN)
    add_sample(home, "breast_cancer", owner=ANN)
    seeding.finished_sweep(OwnedStore(home), ranks=(2,))
    return seeding.going_sweep(OwnedStore(home))[0]


def disabled(app):
    """Whether each button is disabled, by its label."""
    return {found.label: found.disabled for found in app.button}


def options(app, label):
    return next(box for box in app.selectbox if box.label == label).options


def only_mine(app):
    next(toggle for toggle in app.toggle if toggle.label == "Mine only").set_value(True).run()
    assert not app.exception


def test_another_person_sees_the_owner_and_all_buttons_are_disabled(app, monkeypatch, hers):
    sign_in(monkeypatch, BOB)
    go(app, "live")
    assert not app.exception
    assert options(app, "Sweep")[0].endswith(ANN)
    assert "belongs to ann" in texts(app.caption)
    assert plain(ANN) in texts(app.caption)  # text from outside is not markup
    pressed = disabled(app)
    assert pressed["Stop all, keep the best"]
    assert pressed["Cancel all"]
    assert pressed["Run again"]
    assert not {"Stop and keep the best", "Cancel and discard"} & set(pressed)
    go(app, "data")
    assert options(app, "Table")[0].endswith(ANN)
    assert disabled(app)["Delete this table"]
    go(app, "leaderboard", board=hers)
    app.session_state[app.dataframe[0].key] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    assert "belongs to ann" in texts(app.caption)
    assert not {"Archive", "Save the name", "Save the note", "Delete permanently"} & set(disabled(app))
    go(app, "adapters")
    assert not app.exception
    assert set(app.dataframe[0].value["Added by"]) == {ANN}


def test_the_owner_can_change_and_list_only_their_own(app, store, monkeypatch, hers):
    sign_in(monkeypatch, BOB)
    seeding.queue(OwnedStore(store.home), seeding.sweep_settings(store.home, ranks=(2,)), "his")
    sign_in(monkeypatch, ANN)
    go(app, "live", sweep=hers)
    assert len(options(app, "Sweep")) == 3
    assert not disabled(app)["Stop all, keep the best"]
    only_mine(app)
    assert [option.endswith(ANN) for option in options(app, "Sweep")] == [True, True]
    button(app, "Cancel all").click().run()
    assert not app.exception
    assert {run.wish or run.status for run in store.runs(hers)} >= {"cancel", "cancelled"}
    go(app, "leaderboard", board="all")
    assert set(app.dataframe[0].value["Owner"]) == {ANN, BOB}
    only_mine(app)
    assert set(app.dataframe[0].value["Owner"]) == {ANN}


def test_a_person_who_was_admitted_can_log_out(app, monkeypatch):
    gone = []
    monkeypatch.setattr(st, "logout", lambda: gone.append(True))
    assert "Log out" not in {page["page_name"] for page in app.run()._registered_pages.values()}
    sign_in(monkeypatch, ANN)
    (app._page_hash,) = (key for key, page in app.run()._registered_pages.items() if page["url_pathname"] == "log_out")
    assert not gone
    assert not app.run().exception
    assert gone


@pytest.mark.parametrize(
    ("verified", "said"),
    [
        (True, "may not use this server. Ask the person who runs it."),
        (False, "the provider has not verified this address. Verify it there"),
    ],
)
def test_a_person_who_is_refused_reads_why(app, monkeypatch, verified, said):
    sign_in(monkeypatch, BOB, emails=[ANN] if verified else [BOB])
    monkeypatch.setattr(st, "user", Told(st.user.values | {"email_verified": verified}))
    assert said in texts(app.run().error)
    assert button(app, "Log out")


def test_without_log_in_no_owner_is_shown(app, monkeypatch, hers):
    monkeypatch.setenv(LOGIN_VARIABLE, "")
    for page, label in (("live", "Sweep"), ("data", "Table")):
        go(app, page)
        assert not app.exception
        assert not any("example.org" in option for option in options(app, label))
    go(app, "adapters")
    assert "Added by" not in app.dataframe[0].value
    go(app, "leaderboard", board="all")
    assert "Owner" not in app.dataframe[0].value
    assert not app.toggle
    assert not disabled(go(app, "live"))["Cancel all"]

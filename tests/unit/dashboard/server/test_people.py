import pytest
from signed_in import sign_in

from dashboard.server.guard import admitted
from dashboard.server.people import NotYoursError, by, check_may_change, may_change, name_of, person
from tabtune_core.access import LOGIN_VARIABLE, Rules

ANN, BOB = "ann@example.org", "bob@example.org"


def test_without_a_log_in_nobody_has_a_name_and_everybody_may_change_everything(monkeypatch):
    monkeypatch.delenv(LOGIN_VARIABLE, raising=False)
    assert person() == ""
    assert may_change(ANN)
    assert may_change("")
    assert by(ANN) == ""  # in a workspace that was earlier used with a log-in


def test_changing_something_of_another_person_is_refused_with_owner_and_admins(monkeypatch):
    sign_in(monkeypatch, "Ann@Example.org")
    assert person() == ANN
    assert may_change(ANN)
    assert not may_change(BOB)
    with pytest.raises(NotYoursError, match=rf"It belongs to {BOB}\. Only its owner and the admins"):
        check_may_change(BOB)


@pytest.mark.parametrize(
    ("tabtune", "others", "unowned"),
    [
        ({}, False, False),
        ({"unowned_open": True}, False, True),
        ({"admins": ["ANN@example.org"]}, True, True),
        ({"admins": [BOB]}, False, False),
    ],
)
def test_only_admins_may_change_unowned_things_unless_opened(monkeypatch, tabtune, others, unowned):
    sign_in(monkeypatch, ANN, **tabtune)
    assert (may_change(BOB), may_change("")) == (others, unowned)


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ({"email": "Ann@x.y"}, "ann@x.y"),
        ({"email": "ann@x.y", "email_verified": False, "sub": "7", "iss": "https://z"}, "7 of https://z"),
        ({"email": "ann@x.y", "email_verified": "false"}, ""),
        ({"email": None, "sub": "ann@x.y", "iss": "https://z"}, "ann@x.y of https://z"),
        ({}, ""),
    ],
)
def test_a_person_cannot_get_the_name_of_another(user, name):
    assert name_of(user) == name


def test_a_person_without_a_name_owns_nothing(monkeypatch):
    sign_in(monkeypatch, None, admins=[""])
    assert not may_change("")


def test_an_unverified_e_mail_address_lets_nobody_in():
    user = {"is_logged_in": True, "email": ANN}
    assert admitted(user, (ANN,))
    assert not admitted(user | {"email_verified": False}, (ANN,))


def test_invalid_settings_are_refused():
    with pytest.raises(ValueError, match=r"admins under \[tabtune\] .* write a list, for example admins ="):
        Rules.of({"tabtune": {"admins": "ann@example.org"}})
    with pytest.raises(ValueError, match=r"unowned_open under \[tabtune\] .* write true or false"):
        Rules.of({"tabtune": {"unowned_open": 1}})

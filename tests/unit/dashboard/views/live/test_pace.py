"""How often tabs refresh: every second if there are few, and never too often together."""

from dashboard.views.live.pace import AWAY_SECONDS, REFRESHES_A_SECOND, Lookers


def asked(lookers, tabs, now=0.0):
    return [lookers.seconds(f"tab {number}", now) for number in range(tabs)][-1]


def test_few_tabs_refresh_every_second():
    assert asked(Lookers(), 1) == asked(Lookers(), 8) == 1.0


def test_many_tabs_refresh_less_often_but_at_least_every_five_seconds():
    assert asked(Lookers(), 20) == 1.75
    assert 30 / asked(Lookers(), 30) <= 1.2 * REFRESHES_A_SECOND
    assert asked(Lookers(), 1_000) == 5.0


def test_closed_tabs_do_not_count():
    lookers = Lookers()
    asked(lookers, 30)
    assert lookers.seconds("tab 0", now=AWAY_SECONDS + 1) == 1.0

"""How often tabs ask: every second when few look on, together never too often."""

from dashboard.views.live.pace import AWAY_SECONDS, REFRESHES_A_SECOND, Lookers


def asked(lookers, tabs, now=0.0):
    return [lookers.seconds(f"tab {number}", now) for number in range(tabs)][-1]


def test_few_tabs_are_told_every_second():
    assert asked(Lookers(), 1) == asked(Lookers(), 8) == 1.0


def test_many_tabs_ask_the_server_no_more_often_together_and_wait_five_seconds_at_most():
    assert asked(Lookers(), 20) == 1.75
    assert 30 / asked(Lookers(), 30) <= 1.2 * REFRESHES_A_SECOND
    assert asked(Lookers(), 1_000) == 5.0


def test_closed_tabs_do_not_count():
    lookers = Lookers()
    asked(lookers, 30)
    assert lookers.seconds("tab 0", now=AWAY_SECONDS + 1) == 1.0

"""An error in a part of a page is shown in its place; a second click is not a second wish."""

from unittest.mock import patch

from streamlit.testing.v1 import AppTest


def page():
    import streamlit as st

    from dashboard.components.unreadable import page_part
    from tabtune_core.errors import StoreError

    @page_part()
    def part() -> None:
        raise StoreError("The database is damaged")

    part()
    st.write("The rest.")


def test_the_rest_of_a_page_is_drawn_if_one_part_fails():
    app = AppTest.from_function(page).run()
    assert not app.exception
    assert [error.value for error in app.error] == ["The database is damaged"]
    assert [text.value for text in app.markdown] == ["The rest."]


def queueing():
    import streamlit as st

    from dashboard.components.unreadable import once

    def add(settings: dict[str, int]) -> int:
        st.session_state.queued = [*st.session_state.get("queued", []), settings]
        return len(st.session_state.queued)

    for rank in (4, 8):
        st.button(f"Add {rank}", on_click=lambda rank=rank: once(add, {"rank": rank}))


def test_a_second_click_at_once_changes_nothing_and_a_later_one_does():
    app = AppTest.from_function(queueing).run()
    with patch("dashboard.components.unreadable.time.monotonic") as now:
        for seconds, button in ((10, 0), (15.5, 0), (15.6, 1), (21, 0), (27.1, 0), (27.2, 1)):
            now.return_value = seconds
            app.button[button].click().run()
    assert [one["rank"] for one in app.session_state.queued] == [4, 8, 4, 8]

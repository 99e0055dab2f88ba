"""An error in a part of a page is shown in its place."""

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

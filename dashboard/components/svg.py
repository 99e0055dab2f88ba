"""An SVG of our own on a page, in the colour of the page's text.

``st.html`` takes SVG out, and in ``st.image`` it knows no theme. Nothing that a person typed may be part of the picture.
"""

import streamlit as st

_SCRIPT = """
export default function ({ data, parentElement }) {
  parentElement.querySelector('.lab-picture').innerHTML = data.picture
}
"""
_component = st.components.v2.component("lab_picture", html="<div class='lab-picture'></div>", js=_SCRIPT, isolate_styles=False)


def show_picture(picture: str, *, key: str) -> None:
    """Draws it."""
    _component(data={"picture": picture}, key=key)

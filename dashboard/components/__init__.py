"""Parts that several pages draw; a part that runs in the browser has its script and style beside its Python file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st


def browser_part(name: str, html: str, *, isolate_styles: bool = True) -> Any:
    """Returns the component of ``<name>.js`` and, if it exists, ``<name>.css`` in this folder, around ``html``."""
    script, style = (Path(__file__).with_name(f"{name}.{kind}") for kind in ("js", "css"))
    js, css = script.read_text(), style.read_text() if style.exists() else None
    return st.components.v2.component(f"lab_{name}", html=html, js=js, css=css, isolate_styles=isolate_styles)


def segments(label: str, words: Mapping[str, str], *, key: str, default: str | None = None, **more: Any) -> Any:
    """Draws buttons in a row, of which one is always chosen; ``words`` has the text of each."""
    first = next(iter(words)) if default is None else default
    return st.segmented_control(
        label, list(words), default=first, required=True, key=key, format_func=words.__getitem__, **more
    )


def figure(label: str, value: Any, help: str | None = None) -> None:
    """Draws a number in a box that is as wide as its content."""
    st.metric(label, value, border=True, width="content", help=help)


def download(label: str, data: Any, name: str, mime: str, **more: Any) -> None:
    """Draws a button that downloads a file and leaves the page as it is; ``data`` is as in ``st.download_button``."""
    st.download_button(label, data, name, mime, on_click="ignore", icon=":material/download:", **more)

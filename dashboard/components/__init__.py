"""What several pages draw. A part that runs in the browser has its script, and its style, in a file beside its Python."""

from pathlib import Path
from typing import Any

import streamlit as st


def browser_part(name: str, html: str, *, isolate_styles: bool = True) -> Any:
    """The component of ``<name>.js`` and, where there is one, ``<name>.css`` in this folder, around the elements of ``html``."""
    script, style = (Path(__file__).with_name(f"{name}.{kind}") for kind in ("js", "css"))
    return st.components.v2.component(
        f"lab_{name}", html=html, js=script.read_text(), css=style.read_text() if style.exists() else None, isolate_styles=isolate_styles
    )

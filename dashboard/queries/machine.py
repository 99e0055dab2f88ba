"""The devices of this machine."""

import streamlit as st

from tabtune_core.gpus import card_memory, card_names
from tabtune_core.machine import machine_memory


@st.cache_data(ttl=60, show_spinner=False)
def cards() -> list[str]:
    """Names of the NVIDIA GPUs of this machine."""
    return card_names()


@st.cache_data(ttl=5, show_spinner=False)
def memory_of_devices() -> tuple[tuple[int, int], list[tuple[int, int] | None]]:
    """Free and total bytes: of the machine, and of each NVIDIA GPU (None where the driver does not report it)."""
    return machine_memory(), card_memory()

"""The devices of this machine, and of the cluster where its worker has joined one."""

import streamlit as st

from dashboard.queries.workspace import home
from tabtune_core.execution.cluster_file import Cluster, read_cluster
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


def cluster() -> Cluster | None:
    """The machines that runs are put on; None where that is this one."""
    return read_cluster(home())

"""What ``doctor`` finds on the machine of the server, as text for the report of an issue."""

import streamlit as st

from dashboard import queries
from tabtune_core.execution.doctor import examine, report


def panel() -> None:
    """The checks, once a person asks for them."""
    st.markdown("Python, packages, GPUs, weights, disks, memory and the worker, as `loralab doctor` prints them. Attach it to an issue.")
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button("Check this machine", icon=":material/stethoscope:", key="doctor")
        online = st.checkbox("Also ask whether Hugging Face can be reached", key="doctor_online")
    if not pressed:
        return
    checks = examine(queries.home(), online=online)
    problems = [check.name for check in checks if check.state == "problem"]
    if problems:
        st.error(f"Runs cannot work yet: see {', '.join(problems)}.", icon=":material/error:")
    else:
        st.success("Nothing keeps runs from working.", icon=":material/check:")
    st.code(report(checks), language=None)

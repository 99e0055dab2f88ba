"""The estimate of a run's memory beside its measurement."""

import pytest
from streamlit.testing.v1 import AppTest


def page(activations):
    from types import SimpleNamespace

    import streamlit as st

    from dashboard.components.memory_breakdown import against_measured
    from tabtune_core.charts.memory import CAUSES

    estimated = dict.fromkeys(CAUSES, 0) | {"activations": 3_000_000}
    result = SimpleNamespace(memory_by_cause_bytes=estimated | {"activations": activations}, estimated_bytes=estimated)
    st.session_state["by_cause_r"] = True
    against_measured(
        SimpleNamespace(id="r", result=result, settings=SimpleNamespace(strategy="inference")), "Zero-shot"
    )


@pytest.mark.parametrize(("activations", "share"), [(2_000_000, " (150%)"), (0, "")])
def test_the_estimate_stands_beside_the_measurement_also_if_nothing_was_measured(activations, share):
    app = AppTest.from_function(page, args=(activations,)).run(timeout=30)
    assert not app.exception
    assert f"the estimate from the architecture alone is 3.0 MB{share}. Weights" in app.caption[0].value.replace(
        "\\", ""
    )

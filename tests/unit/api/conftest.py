"""A fitted pipeline and rows to predict, once a file."""

import pytest
from pipelines import FAST, disturb
from small_table import small_table

from tabtune_core import TabularPipeline


@pytest.fixture(scope="module")
def fitted():
    X, y = small_table()
    return disturb(TabularPipeline("tabicl-mini", "peft", {**FAST, "peft_config": {"r": 4, "lora_alpha": 12}}).fit(X, y))


@pytest.fixture(scope="module")
def test_rows():
    return small_table(40, seed=1)

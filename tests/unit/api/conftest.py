"""Tiny checkpoints, a fitted pipeline and rows to predict, once a file."""

import pytest
from pipelines import FAST, disturb
from small_table import small_table
from tiny import tiny_checkpoint

from tabtune_core import TabularPipeline


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights by task, for tests that do not depend on skill."""
    folder = tmp_path_factory.mktemp("tiny")
    return {task: str(tiny_checkpoint(folder / f"{task}.ckpt", task=task)) for task in ("classification", "regression")}


@pytest.fixture(scope="module")
def fitted():
    X, y = small_table()
    return disturb(
        TabularPipeline("tabicl-mini", "peft", {**FAST, "peft_config": {"r": 4, "lora_alpha": 12}}).fit(X, y)
    )


@pytest.fixture(scope="module")
def test_rows():
    return small_table(40, seed=1)

"""Benchmarks: pre-training resumes exactly; cells of the first hour on a GPU are processes of their own."""

import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import first_hour_on_a_card as first_hour
import pretraining

CELL = """
import json, sys
cell = json.loads(sys.argv[2])
if cell.get("rank") == 32:
    sys.exit("CUDA out of memory.")
full = cell["strategy"] == "base-ft"
print(json.dumps({"ms a step": 40 if full else 30, "growth (MB)": 200 if full else 50, "card busy (ms)": None}))
"""


def test_each_row_has_its_ratio_to_full_fine_tuning_or_its_error(monkeypatch, tmp_path):
    program = tmp_path / "cell.py"
    monkeypatch.setattr(first_hour, "PROGRAM", program)
    program.write_text(CELL)
    path = tmp_path / "cells.jsonl"
    asked = Namespace(tiny=True, device="cuda:0")
    page = first_hour.page(first_hour.Cells(path, asked))
    for row in (
        "| LoRA, fp32 | 64 x 4 | 30 | N/A | 0.75 |  |",
        "| LoRA r = 8 | 64 x 4 | 50 | 0.25 |  |",
        "| LoRA r = 32 | 64 x 4 | N/A | N/A | CUDA out of memory. |",
    ):
        assert row in page
    program.write_text("raise SystemExit('measured again')")
    assert first_hour.page(first_hour.Cells(path, asked)).partition("cuda:0;")[0] == page.partition("cuda:0;")[0]
    assert all(json.loads(line)["cell"]["device"] == "cuda:0" for line in path.read_text().splitlines())


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "CELLS", 2_000)
    monkeypatch.setattr(pretraining, "HELD_OUT_EPISODES", 1)
    small = replace(pretraining.RECIPES["tabdpt-mini"], rows=64, features=4)
    monkeypatch.setitem(pretraining.RECIPES, "tabdpt-mini", small)
    for folder, steps in (("whole", 2), ("parts", 1), ("parts", 2)):
        pretraining.main(["tabdpt-mini", str(tmp_path / folder), "--steps", str(steps), "--growth", "1"])
    files = [tmp_path / folder / "tabdpt-mini.safetensors" for folder in ("whole", "parts")]
    whole, parts = (
        load_model(CATALOGUE["tabdpt-mini"], "regression", "cpu", file).module.state_dict() for file in files
    )
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    untrained = small.make().state_dict()["head.0.weight"]
    assert whole["head.0.weight"].shape == untrained.shape
    with pytest.raises(SystemExit):
        pretraining.main(["tabpfn", str(tmp_path)])

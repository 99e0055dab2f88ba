"""Pre-training of the minis resumes exactly, and writes weights that the library opens."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import pretraining


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
        load_model(CATALOGUE["tabdpt-mini"], "regression", torch.device("cpu"), file).module.state_dict()
        for file in files
    )
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    untrained = small.make().state_dict()["head.0.weight"]
    assert whole["head.0.weight"].shape == untrained.shape
    with pytest.raises(SystemExit):
        pretraining.main(["tabpfn", str(tmp_path)])

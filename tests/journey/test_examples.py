"""The examples of the documentation run as written, except for the number of steps."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)


def test_the_script_prints_and_writes_a_board(tmp_path, monkeypatch, capsys):
    import compare_ranks

    monkeypatch.setattr(sys, "argv", ["compare_ranks.py", "--rows", "120", "--steps", "2"])
    compare_ranks.main()
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("zero-shot", "LoRA r=2", "LoRA r=8"))
    assert "LoRA r=8" in (tmp_path / "board.html").read_text()


def test_all_cells_of_the_notebook_run(tmp_path):
    notebook = json.loads((EXAMPLES / "first_adapter.ipynb").read_text())
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names = {}
    for cell in code:
        exec(cell.replace('"steps": 60', '"steps": 2').replace("quantiles(600)", "quantiles(120)"), names)
    assert {"lora_adapters.pt", "pipeline.zip"} <= {path.name for path in tmp_path.iterdir()}
    assert names["loaded"].predict(names["x_test"]).tolist() == names["pipeline"].predict(names["x_test"]).tolist()


def test_the_example_table_is_deterministic_and_has_three_shells(tmp_path, monkeypatch):
    import runpy

    import quantiles

    monkeypatch.setattr(sys, "argv", ["quantiles.py"])
    runpy.run_path(str(EXAMPLES / "quantiles.py"), run_name="__main__")
    read = pd.read_csv(tmp_path / "quantiles.csv")
    pd.testing.assert_frame_equal(read, quantiles.quantiles(), check_dtype=False)
    assert read["shell"].value_counts().tolist() == [1000, 1000, 1000]

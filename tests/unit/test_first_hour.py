"""The first hour on a GPU: cells are processes of their own, kept in a file, and none stops the others."""

import json
import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import first_hour_on_a_card as first_hour

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

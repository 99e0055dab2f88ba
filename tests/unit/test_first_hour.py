"""The first hour on a GPU: its order and budgets, parts that fail or are late, and the page with its results."""

import json
import re
import sys
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import card_parts
import first_hour_on_a_card as first_hour
import first_hour_page

FACTS = {
    "name": "H100",
    "driver": "570.0",
    "total_bytes": 80e9,
    "exclusive_process": False,
    "idle": {"nvml_device_bytes": 3e6},
}
FOUND = {
    "gpu tests": [
        {"test": "a::c", "outcome": "failure", "reason": "assert 1 | 2"},
        {"test": "all", "outcome": "7 passed, 1 failure"},
    ],
    "estimate": [
        {"model": "tabicl-v2", "estimated (MB)": 50.0, "ratio": 1.25},
        {"model": "tabicl-v2", "error": "CUDA out of memory."},
    ],
    "step times": [{"step": "full, fp32", "ms a step": 40.0, "card busy (ms)": 8.0, "to full, fp32": 1.0}],
    "memory": [{"training": "LoRA r = 8", "growth (MB)": None, "to full": None}],
    "sweep": [{"run": "r=8", "adapter verified": True}, {"run": "lora.zip", "predicted rows": 569}],
    "two runs at once": [{"runs at a time": 2, "ms a step, each": "25.0, 40.0"}],
}


def part(name, **changed):
    return {"name": name, "status": "done", "seconds": 1.0, "found": FOUND[name], "error": ""} | changed


def whole(*parts, dry_run=False):
    return {"dry_run": dry_run, "device": "cuda:0", "facts": FACTS, "machine": "Xeon", "parts": list(parts)}


def rows_of(page):
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])]
        for line in page.splitlines()
        if line.startswith("|")
    ]


def test_every_part_runs_in_order_within_its_budget_and_all_of_them_in_half_an_hour():
    asked, kept = [], []

    def run(name, command, budget):
        asked.append((name, command[2], json.loads(command[3])["device"], budget))
        return first_hour.Part(name, "failed" if name == "estimate" else "done", 1.0, FOUND[name], "boom")

    found = first_hour.measure(
        "cuda:0", tiny=False, facts=FACTS, keep=lambda so_far: kept.append(len(so_far["parts"])), run=run
    )
    assert asked == [(name, name, "cuda:0", budget) for name, budget in first_hour.BUDGETS.items()]
    assert sum(first_hour.BUDGETS.values()) < 30 * 60
    assert list(first_hour.BUDGETS) == list(card_parts.PARTS) == list(first_hour_page.TITLES)
    assert [one["status"] for one in found["parts"]] == ["done", "failed", "done", "done", "done", "done"]
    assert kept == [1, 2, 3, 4, 5, 6], "results must be on disk before the next part begins"


def test_a_failed_part_keeps_its_findings_and_the_end_of_its_output():
    code = "import sys; print('noise'); print('{\"a\": 1}'); sys.exit('no kernel image')"
    part = first_hour.carried_out("x", [sys.executable, "-c", code], 30)
    assert (part.status, part.found, part.error) == ("failed", [{"a": 1}], "no kernel image")


def test_a_late_part_is_ended_with_its_children_and_keeps_its_findings():
    code = (
        "import json, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print(json.dumps({'pid': child.pid}), flush=True)\n"
        "print('{\"half a li', end='', flush=True)\n"
        "time.sleep(60)\n"
    )
    part = first_hour.carried_out("x", [sys.executable, "-c", code], 5)
    assert (part.status, len(part.found), part.error) == ("late", 1, "It was ended after 5 s.")
    child = part.found[0]["pid"]
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def cells(monkeypatch, folder, answer):
    """A setup whose processes print ``answer`` for their cell."""
    monkeypatch.setattr(card_parts, "BENCHMARKS", folder)
    (folder / "card_cell.py").write_text(
        f"import json, sys\ncell = json.loads(sys.argv[1])\nfull = cell['strategy'] == 'base-ft'\n{answer}\n"
    )
    return {"device": "cpu", "tiny": True, "folder": str(folder)}


def test_each_strategy_has_its_ratio_to_full_fine_tuning_of_its_size(monkeypatch, tmp_path):
    answer = (
        "print(json.dumps({'ms a step': 40 if full else 30, 'card busy (ms)': None, 'growth (MB)': 200 if full "
        "else 50}))"
    )
    setup = cells(monkeypatch, tmp_path, answer)
    steps = {one["step"]: one["to full, fp32"] for one in card_parts.step_times(setup)}
    assert steps == {"full, fp32": 1.0, "LoRA, fp32, dropout 0": 0.75, "LoRA, fp32, dropout 0.05": 0.75}
    ratios = {one["training"]: one["to full"] for one in card_parts.memory(setup)}
    assert (ratios["full, recomputed"], ratios["LoRA r = 8"], len(ratios)) == (1.0, 0.25, 6)
    assert [one["steps a second, to one alone"] for one in card_parts.together(setup)] == [1.0, 2.0]


def test_the_page_has_all_measurements():
    rows = rows_of(first_hour_page.page(whole(*map(part, FOUND))))
    for row in (
        ["a::c", "failure", "assert 1 \\| 2"],
        ["tabicl-v2", "50", "1.25", ""],
        ["tabicl-v2", "", "", "CUDA out of memory."],
        ["full, fp32", "40", "8", "1"],
        ["LoRA r = 8", "N/A", "N/A"],
        ["r=8", "yes", ""],
        ["2", "25.0, 40.0"],
    ):
        assert row in rows


def test_a_dry_run_makes_no_page_and_a_measurement_does(tmp_path, capsys):
    path = tmp_path / "docs" / "page.md"
    assert first_hour.write_page(whole(dry_run=True), path) == 2
    assert not path.exists()
    assert "nothing in it was measured" in capsys.readouterr().out
    assert first_hour.write_page(whole(*map(part, FOUND)), path) == 0
    assert path.read_text().startswith(
        "# The first hour on a card\n\nH100, 80 GB, 3 MB of it in use before, driver 570.0. Xeon."
    )


@pytest.mark.parametrize("more", [[], ["--write"]])
def test_without_a_gpu_one_sentence_says_what_was_looked_for_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, more
):
    monkeypatch.setattr(first_hour, "real", lambda: None)
    monkeypatch.setattr(first_hour, "measure", None)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    assert first_hour.main(["--out", str(tmp_path / "out.json"), *more]) == 0
    (sentence,) = capsys.readouterr().out.splitlines()
    assert sentence.startswith("A CUDA card was looked for, and torch")
    assert list(tmp_path.iterdir()) == []

"""The first hour on a card: its order and budgets, what becomes of a part that fails or is late, and the page that is made of it."""

import json
import sys
from pathlib import Path

import psutil
import pytest
from fakes.fake_nvml import Driver

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import card_parts
import first_hour_on_a_card as first_hour
import first_hour_page

FACTS = {"name": "H100", "driver": "570.0", "total_bytes": 80e9, "exclusive_process": False, "idle": {"nvml_device_bytes": 3e6}}
CELL = {"rows": 256, "features": 10, "model": "tabicl-v2", "strategy": "peft", "busy_ms": None}
FOUND = {
    "gpu tests": [
        {"test": "a::b", "outcome": "passed", "reason": ""},
        {"test": "a::c", "outcome": "failure", "reason": "assert 1 == 2"},
        {"test": "a::d", "outcome": "skipped", "reason": "one card"},
    ],
    "estimate": [{**CELL, "growth_bytes": 40e6, "estimated_bytes": 50e6}, {**CELL, "error": "CUDA out of memory."}],
    "step times": [
        {**CELL, "kind": "full, fp32", "step_ms": 40.0, "busy_ms": 8.0},
        {**CELL, "kind": "LoRA, fp32, dropout 0", "step_ms": 30.0},
        {**CELL, "rows": 2048, "kind": "LoRA, fp32, dropout 0", "step_ms": 70.0},
    ],
    "memory": [{**CELL, "kind": "full", "growth_bytes": 200e6}, {**CELL, "kind": "LoRA r = 8", "growth_bytes": 50e6}],
    "sweep": [
        {
            "run": "r=8",
            "status": "finished",
            "error": None,
            "samples": 9,
            "nvml_levels": 5,
            "nvml_process": False,
            "highest_utilisation": 71,
            "train_seconds": 2.5,
            "growth_bytes": 30e6,
            "verified": True,
            "test_log_loss": 0.25,
        },
        {"adapter": "lora.zip", "predicted_rows": 569},
    ],
    "two runs at once": [
        {**CELL, "runs": 1, "each": [{"step_ms": 20.0}]},
        {**CELL, "runs": 2, "each": [{"step_ms": 25.0}, {"step_ms": 40.0}]},
    ],
}


def part(name, **changed):
    return {"name": name, "status": "done", "seconds": 1.0, "found": FOUND[name], "error": ""} | changed


def whole(*parts, dry_run=False):
    return {"dry_run": dry_run, "device": "cuda:0", "facts": FACTS, "machine": "Xeon", "parts": list(parts)}


def rows_of(page):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]


def test_every_part_runs_in_order_within_its_budget_and_all_of_them_in_half_an_hour():
    asked, kept = [], []

    def run(name, command, budget):
        asked.append((name, command[2], json.loads(command[3])["device"], budget))
        return first_hour.Part(name, "failed" if name == "estimate" else "done", 1.0, FOUND[name], "boom")

    found = first_hour.measure("cuda:0", tiny=False, facts=FACTS, keep=lambda so_far: kept.append(len(so_far["parts"])), run=run)
    assert asked == [(name, name, "cuda:0", budget) for name, budget in first_hour.BUDGETS.items()]
    assert sum(first_hour.BUDGETS.values()) < 30 * 60
    assert list(first_hour.BUDGETS) == list(card_parts.PARTS) == list(first_hour_page.SECTIONS)
    assert [one["status"] for one in found["parts"]] == ["done", "failed", "done", "done", "done", "done"]
    assert kept == [1, 2, 3, 4, 5, 6], "what was measured is on disk before the next part begins"


def test_a_part_that_fails_keeps_what_it_found_and_its_last_words():
    code = "import sys; print('noise'); print('{\"a\": 1}'); sys.exit('no kernel image')"
    part = first_hour.carried_out("x", [sys.executable, "-c", code], 30)
    assert (part.status, part.found, part.error) == ("failed", [{"a": 1}], "no kernel image")


def test_a_part_that_is_late_is_ended_with_all_that_it_started_and_keeps_what_it_found():
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


def test_a_cell_that_fails_is_recorded_and_the_next_one_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(card_parts, "BENCHMARKS", tmp_path)
    (tmp_path / "card_cell.py").write_text(
        "import json, sys\ncell = json.loads(sys.argv[1])\n"
        "sys.exit('CUDA out of memory.') if cell['strategy'] == 'base-ft' else print(json.dumps({'growth_bytes': cell['steps']}))\n"
    )
    first, second = card_parts.estimates({"device": "cpu", "tiny": True, "folder": str(tmp_path)})
    assert (first["strategy"], first["error"]) == ("base-ft", "CUDA out of memory.")
    assert (second["strategy"], second["growth_bytes"]) == ("peft", 4)


def test_the_page_has_every_number_that_was_measured_with_its_ratio():
    rows = rows_of(first_hour_page.page(whole(*map(part, FOUND))))
    for row in (
        ["a::c", "failed", "assert 1 == 2"],
        ["a::d", "skipped", "one card"],
        ["tabicl-v2", "LoRA", "256 x 10", "50", "40", "1.25"],
        ["tabicl-v2", "LoRA", "256 x 10", "CUDA out of memory.", "", ""],
        ["full, fp32", "256 x 10", "40.0", "1.00", "8.0"],
        ["LoRA, fp32, dropout 0", "256 x 10", "30.0", "0.75", ""],
        ["LoRA, fp32, dropout 0", "2048 x 10", "70.0", "N/A", ""],
        ["LoRA r = 8", "256 x 10", "50", "0.25"],
        ["r=8", "finished", "2.5", "30", "0.2500", "yes", "5 in 9 samples", "N/A", "71"],
        ["2", "256 x 10", "25.0, 40.0", "1.30"],
    ):
        assert row in rows


def test_what_was_not_measured_has_no_number_on_the_page():
    late = part("memory", status="late", error="It was ended after 180 s.", found=[])
    page = first_hour_page.page(whole(part("sweep", status="failed", error="no kernel image"), late))
    assert "**This part failed:** no kernel image" in page
    assert "**This part ran out of time.** It was ended after 180 s.\n\nNothing was measured." in page
    assert "Step times" not in page


def test_a_dry_run_is_no_page_and_a_measurement_is(tmp_path, capsys):
    path = tmp_path / "docs" / "page.md"
    assert first_hour.write_page(whole(dry_run=True), path) == 2
    assert not path.exists()
    assert "nothing in it was measured" in capsys.readouterr().out
    assert first_hour.write_page(whole(*map(part, FOUND)), path) == 0
    assert path.read_text().startswith("# The first hour on a card\n\nH100, 80 GB, 3 MB of it in use before, driver 570.0. Xeon.")


@pytest.mark.parametrize("more", [[], ["--write"]])
def test_without_a_card_one_sentence_says_what_was_looked_for_and_nothing_is_written(tmp_path, monkeypatch, capsys, more):
    monkeypatch.setattr(first_hour, "real", lambda: None)
    monkeypatch.setattr(first_hour, "measure", None)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "")
    assert first_hour.main(["--out", str(tmp_path / "out.json"), *more]) == 0
    (sentence,) = capsys.readouterr().out.splitlines()
    assert sentence.startswith("A CUDA card was looked for, and torch")
    assert list(tmp_path.iterdir()) == []


def test_what_the_driver_says_of_the_card_is_kept():
    facts = first_hour.card_facts(Driver("GPU-a", names=["H100"], exclusive=["GPU-a"]), "GPU-a")
    assert (facts["name"], facts["driver"], facts["exclusive_process"]) == ("H100", "570.0", True)
    assert facts["idle"]["temperature_celsius"] == 40
    assert facts["idle"]["power_watts"] is None

"""What ``first_hour_on_a_card.py`` measures, part by part. Each part runs in a process of its own and prints a line of JSON as soon as it knows
something, so that what was found before its time was over is not lost.

In: the name of a part and its setup as JSON. Out: lines of JSON. With ``tiny`` all sizes are small, for a try on the CPU.
"""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parent
ROOT = BENCHMARKS.parents[1]
Found = dict[str, Any]
KINDS: dict[str, Found] = {
    "full, fp32": {"strategy": "base-ft"},
    "LoRA, fp32, dropout 0": {"strategy": "peft"},
    "LoRA, fp32, dropout 0.05": {"strategy": "peft", "dropout": 0.05},
    "full, bf16": {"strategy": "base-ft", "amp": "bf16"},
    "LoRA, bf16, dropout 0": {"strategy": "peft", "amp": "bf16"},
    "LoRA, bf16, dropout 0.05": {"strategy": "peft", "amp": "bf16", "dropout": 0.05},
}
HELD: dict[str, Found] = {
    "full": {"strategy": "base-ft"},
    "LoRA r = 8": {"strategy": "peft"},
    "LoRA r = 32": {"strategy": "peft", "rank": 32},
    "LoRA r = 8, late layers": {"strategy": "peft", "targets": ["late_layers"]},
    "full, recomputed": {"strategy": "base-ft", "recompute": True},
    "LoRA r = 8, recomputed": {"strategy": "peft", "recompute": True},
}


def gpu_tests(setup: Found) -> Iterator[Found]:
    """The tests that need a card, by outcome; failures and skips with their reason."""
    report = Path(setup["folder"]) / "tests.xml"
    chosen = ["tests/gpu"] if setup["tiny"] else ["tests"]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "gpu", f"--junitxml={report}", *chosen]
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr)
    if not report.exists():
        raise SystemExit("pytest ended without a report")
    for case in ElementTree.parse(report).iter("testcase"):
        said = next(((kind, case.find(kind)) for kind in ("failure", "error", "skipped") if case.find(kind) is not None), ("passed", None))
        reason = "" if said[1] is None else (said[1].get("message") or "no reason").splitlines()[0]
        yield {"test": f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}", "outcome": said[0], "reason": reason}


def estimates(setup: Found) -> Iterator[Found]:
    """The estimate before launch against measured memory."""
    sizes = {
        "tabicl-mini": [(256, 10), (1024, 20)],
        "tabdpt-mini": [(256, 10), (1024, 20)],
        "tabicl-v2": [(256, 10), (1024, 20), (2048, 50)],
    }
    for model, tables in ({"tabicl-mini": [(64, 4)]} if setup["tiny"] else sizes).items():
        for rows, features in tables:
            for strategy in ("base-ft", "peft"):
                yield cell(setup, {"model": model, "strategy": strategy, "rows": rows, "features": features, "dropout": 0.05}, steps=6)


def step_times(setup: Found) -> Iterator[Found]:
    """Milliseconds of a step by kind, and how many of them the card computes."""
    kinds = dict(KINDS)
    if has_graphs():
        kinds |= {"LoRA, fp32, dropout 0.05, CUDA graph": {"strategy": "peft", "dropout": 0.05, "graph": True}}
    if setup["device"] == "cpu":
        kinds = {name: kind for name, kind in kinds.items() if "amp" not in kind and "graph" not in kind}
    for rows, features in [(64, 4)] if setup["tiny"] else [(256, 10), (2048, 50)]:
        for name, kind in kinds.items():
            profile = "amp" not in kind and "graph" not in kind
            table = {"model": big(setup), "rows": rows, "features": features, "profile": profile}
            yield cell(setup, {"kind": name, **table, **kind}, steps=30)


def memory(setup: Found) -> Iterator[Found]:
    """Growth over the loaded model, LoRA against full fine-tuning."""
    rows, features = (64, 4) if setup["tiny"] else (2048, 50)
    for name, kind in HELD.items():
        yield cell(setup, {"kind": name, "model": big(setup), "rows": rows, "features": features, **kind}, steps=4)


def sweep(setup: Found) -> Iterator[Found]:
    """From a CSV to an adapter that predicts, through the real worker and store, as a person would on the command line."""
    from sklearn.datasets import load_breast_cancer

    from tabtune_core.store.runs import RunStore

    folder = Path(setup["folder"])
    load_breast_cancer(as_frame=True).frame.to_csv(folder / "table.csv", index=False)
    steps = "4" if setup["tiny"] else "100"
    asked = ["--target", "target", "--model", "tabicl-mini", "--ranks", "2", "8", "--no-references", "--device", setup["device"]]
    where = ["--home", str(folder / "home")]
    tabtune("sweep", str(folder / "table.csv"), *asked, "--steps", steps, *where, "--adapters", str(folder / "adapters"))
    store = RunStore(folder / "home")
    for run in store.runs():
        sampled = [stored.event for stored in store.events(run.id, ["MemorySampled"])]
        busy = [sample.utilisation_percent for sample in sampled if sample.utilisation_percent is not None]
        yield {
            "run": run.settings.label,
            "status": run.status,
            "error": run.error,
            "samples": len(sampled),
            "highest_utilisation": max(busy, default=None),
            "nvml_levels": len({sample.nvml_device_bytes for sample in sampled} - {None}),
            "nvml_process": any(sample.nvml_process_bytes is not None for sample in sampled),
            **(
                {}
                if run.result is None
                else {
                    "train_seconds": run.result.train_seconds,
                    "growth_bytes": run.result.growth_memory_bytes,
                    "verified": run.result.adapter_verified,
                    "test_log_loss": run.result.test.get("log_loss"),
                }
            ),
        }
    adapter = next(iter(sorted((folder / "adapters").glob("*.zip"))))
    lines = tabtune("predict", str(adapter), str(folder / "table.csv"), "--device", setup["device"], *where).splitlines()
    yield {"adapter": adapter.name, "predicted_rows": len(lines) - 1}


def together(setup: Found) -> Iterator[Found]:
    """Step times of one run alone on the card, and of two at a time."""
    asked = {
        "model": big(setup),
        "strategy": "peft",
        "dropout": 0.05,
        "rows": 64 if setup["tiny"] else 256,
        "features": 4 if setup["tiny"] else 10,
    }
    for runs in (1, 2):
        processes = [started(setup, asked, steps=150) for _ in range(runs)]
        yield {"runs": runs, **asked, "each": [ended(process) for process in processes]}


PARTS = {
    "gpu tests": gpu_tests,
    "estimate": estimates,
    "step times": step_times,
    "memory": memory,
    "sweep": sweep,
    "two runs at once": together,
}


def big(setup: Found) -> str:
    """The model whose time and memory are asked for."""
    return "tabicl-mini" if setup["tiny"] else "tabicl-v2"


def has_graphs() -> bool:
    """Whether this version can run a step as a CUDA graph."""
    from card_cell import GRAPH

    return GRAPH is not None


def started(setup: Found, asked: Found, *, steps: int) -> "subprocess.Popen[str]":
    """The process of a cell."""
    command = {**asked, "device": setup["device"], "folder": setup["folder"], "steps": 4 if setup["tiny"] else steps}
    return subprocess.Popen(
        [sys.executable, str(BENCHMARKS / "card_cell.py"), json.dumps(command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: "subprocess.Popen[str]") -> Found:
    """What it found, or the last line of what it said."""
    out, said = process.communicate()
    if process.returncode:
        return {"error": (said.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}
    found: Found = json.loads(out.splitlines()[-1])
    return found


def cell(setup: Found, asked: Found, *, steps: int) -> Found:
    """One cell in a process of its own; one that fails does not keep the others from being measured."""
    return asked | ended(started(setup, asked, steps=steps))


def tabtune(*arguments: str) -> str:
    """What a command of the product prints; its progress goes to stderr."""
    done = subprocess.run([sys.executable, "-m", "tabtune_core", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"loralab {arguments[0]} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for found in PARTS[sys.argv[1]](json.loads(sys.argv[2])):
        print(json.dumps(found), flush=True)

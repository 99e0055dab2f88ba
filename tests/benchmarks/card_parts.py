"""The parts of ``first_hour_on_a_card.py``. Each runs in a process of its own and prints a line of JSON per result as
soon as it has it, so that nothing is lost when its time is over.

In: the name of a part and its setup as JSON. Out: lines of JSON, each a row of the page. ``tiny`` makes all sizes
small, for a trial on the CPU.
"""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parent
ROOT = BENCHMARKS.parents[1]
Found = dict[str, Any]
FULL: Found = {"strategy": "base-ft"}
LORA: Found = {"strategy": "peft"}
KINDS: dict[str, Found] = {
    "full, fp32": FULL,
    "LoRA, fp32, dropout 0": LORA,
    "LoRA, fp32, dropout 0.05": {**LORA, "dropout": 0.05},
    "full, bf16": {**FULL, "amp": "bf16"},
    "LoRA, bf16, dropout 0": {**LORA, "amp": "bf16"},
    "LoRA, bf16, dropout 0.05": {**LORA, "amp": "bf16", "dropout": 0.05},
}
HELD: dict[str, Found] = {
    "full": FULL,
    "LoRA r = 8": LORA,
    "LoRA r = 32": {**LORA, "rank": 32},
    "LoRA r = 8, late layers": {**LORA, "targets": ["late_layers"]},
    "full, recomputed": {**FULL, "recompute": True},
    "LoRA r = 8, recomputed": {**LORA, "recompute": True},
}


def gpu_tests(setup: Found) -> Iterator[Found]:
    """The number of GPU tests by outcome; failures and skips with their reason."""
    report = Path(setup["folder"]) / "tests.xml"
    chosen = ["tests/gpu"] if setup["tiny"] else ["tests"]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "gpu", f"--junitxml={report}", *chosen]
    subprocess.run(command, cwd=ROOT, stdout=sys.stderr)
    if not report.exists():
        raise SystemExit("pytest ended without a report")
    counts = Counter[str]()
    for case in ElementTree.parse(report).iter("testcase"):
        said = next((case.find(kind) for kind in ("failure", "error", "skipped") if case.find(kind) is not None), None)
        counts[outcome := "passed" if said is None else said.tag] += 1
        if said is not None:
            reason = (said.get("message") or "no reason").splitlines()[0]
            yield {
                "test": f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}",
                "outcome": outcome,
                "reason": reason,
            }
    yield {"test": "all", "outcome": ", ".join(f"{number} {outcome}" for outcome, number in counts.items())}


def estimates(setup: Found) -> Iterator[Found]:
    """The estimate before launch against measured memory."""
    sizes = {
        "tabicl-mini": [(256, 10), (1024, 20)],
        "tabdpt-mini": [(256, 10), (1024, 20)],
        "tabicl-v2": [(256, 10), (1024, 20), (2048, 50)],
    }
    for model, tables in ({"tabicl-mini": [(64, 4)]} if setup["tiny"] else sizes).items():
        for rows, features in tables:
            for kind, strategy in (("full", FULL), ("LoRA", LORA)):
                told = cell(
                    setup, {"model": model, "rows": rows, "features": features, "dropout": 0.05, **strategy}, steps=6
                )
                yield {
                    "training": kind,
                    "model": model,
                    **size(rows, features),
                    **measured(told, "estimated (MB)", "growth (MB)"),
                    "ratio": ratio(told.get("estimated (MB)"), told.get("growth (MB)")),
                }


def step_times(setup: Found) -> Iterator[Found]:
    """Milliseconds of a step by kind, and for how many of them the GPU computes."""
    on_a_card = setup["device"] != "cpu"
    for rows, features in [(64, 4)] if setup["tiny"] else [(256, 10), (2048, 50)]:
        first = None
        for name, kind in KINDS.items():
            plain = "amp" not in kind
            if plain or on_a_card:
                asked = {"model": big(setup), "rows": rows, "features": features, "profile": plain, **kind}
                told = cell(setup, asked, steps=30)
                first = told.get("ms a step") if kind is FULL else first
                shown = measured(told, "ms a step", "card busy (ms)")
                yield {
                    "step": name,
                    **size(rows, features),
                    **shown,
                    "to full, fp32": ratio(told.get("ms a step"), first),
                }


def memory(setup: Found) -> Iterator[Found]:
    """Growth over the loaded model, LoRA against full fine-tuning."""
    (rows, features), first = (64, 4) if setup["tiny"] else (2048, 50), None
    for name, kind in HELD.items():
        told = cell(setup, {"model": big(setup), "rows": rows, "features": features, **kind}, steps=4)
        first = told.get("growth (MB)") if name == "full" else first
        shown = measured(told, "growth (MB)")
        yield {"training": name, **size(rows, features), **shown, "to full": ratio(told.get("growth (MB)"), first)}


def sweep(setup: Found) -> Iterator[Found]:
    """Goes from a CSV to predictions of an adapter on the command line, with the real worker and store."""
    from sklearn.datasets import load_breast_cancer

    from tabtune_core.store.runs import RunStore

    folder = Path(setup["folder"])
    load_breast_cancer(as_frame=True).frame.to_csv(folder / "table.csv", index=False)
    steps = "4" if setup["tiny"] else "100"
    asked = [
        "--target",
        "target",
        "--model",
        "tabicl-mini",
        "--ranks",
        "2",
        "8",
        "--no-references",
        "--device",
        setup["device"],
    ]
    where = ["--home", str(folder / "home")]
    loralab(
        "sweep", str(folder / "table.csv"), *asked, "--steps", steps, *where, "--adapters", str(folder / "adapters")
    )
    store = RunStore(folder / "home")
    for run in store.runs():
        sampled = [stored.event for stored in store.events(run.id, ["MemorySampled"])]
        busy = [sample.utilisation_percent for sample in sampled if sample.utilisation_percent is not None]
        levels, result = {sample.nvml_device_bytes for sample in sampled} - {None}, run.result
        yield {
            "run": run.settings.label,
            "status": run.status,
            "levels of device memory": f"{len(levels)} in {len(sampled)} samples",
            "process memory": any(sample.nvml_process_bytes is not None for sample in sampled),
            "highest utilization (%)": max(busy, default=None),
            **(
                {}
                if result is None
                else {"training (s)": result.train_seconds, "growth (MB)": megabytes(result.growth_memory_bytes)}
            ),
            **(
                {}
                if result is None
                else {"test log-loss": result.test.get("log_loss"), "adapter verified": result.adapter_verified}
            ),
            **({"error": run.error} if run.error else {}),
        }
    adapter = next(iter(sorted((folder / "adapters").glob("*.zip"))))
    lines = loralab(
        "predict", str(adapter), str(folder / "table.csv"), "--device", setup["device"], *where
    ).splitlines()
    yield {"run": f"`loralab predict {adapter.name}`", "predicted rows": len(lines) - 1}


def together(setup: Found) -> Iterator[Found]:
    """Step times of one run alone on the GPU, and of two at a time."""
    rows, features = (64, 4) if setup["tiny"] else (256, 10)
    asked, alone = {"model": big(setup), **LORA, "dropout": 0.05, "rows": rows, "features": features}, None
    for runs in (1, 2):
        processes = [started(setup, asked, steps=150) for _ in range(runs)]
        told = [ended(process) for process in processes]
        times = [one["ms a step"] for one in told if "error" not in one]
        alone = times[0] if runs == 1 and times else alone
        shown = ", ".join(one.get("error") or f"{one['ms a step']:.1f}" for one in told)
        more = sum(alone / time for time in times) if alone and len(times) == runs else None
        yield {
            "runs at a time": runs,
            **size(rows, features),
            "ms a step, each": shown,
            "steps a second, to one alone": more,
        }


PARTS = {
    "gpu tests": gpu_tests,
    "estimate": estimates,
    "step times": step_times,
    "memory": memory,
    "sweep": sweep,
    "two runs at once": together,
}


def big(setup: Found) -> str:
    """The model to measure."""
    return "tabicl-mini" if setup["tiny"] else "tabicl-v2"


def size(rows: int, features: int) -> Found:
    """A table's size as a cell of the page."""
    return {"rows x columns": f"{rows} x {features}"}


def measured(told: Found, *names: str) -> Found:
    """The values of a cell under ``names``, or its error."""
    return {name: told[name] for name in ("error",) if name in told} or {name: told[name] for name in names}


def ratio(one: float | None, other: float | None) -> float | None:
    """The ratio, or None if one of the two is unknown."""
    return one / other if one is not None and other else None


def megabytes(size: float | None) -> float | None:
    """Bytes in MB."""
    return None if size is None else size / 1e6


def started(setup: Found, asked: Found, *, steps: int) -> "subprocess.Popen[str]":
    """Starts the process of a cell."""
    command = {**asked, "device": setup["device"], "folder": setup["folder"], "steps": 4 if setup["tiny"] else steps}
    return subprocess.Popen(
        [sys.executable, str(BENCHMARKS / "card_cell.py"), json.dumps(command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Found:
    """The result of a cell's process, or the last line of its error output."""
    out, said = process.communicate()
    if process.returncode:
        return {"error": (said.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}
    found: Found = json.loads(out.splitlines()[-1])
    return found


def cell(setup: Found, asked: Found, *, steps: int) -> Found:
    """Measures one cell in a process of its own, so that its failure does not stop the others."""
    return ended(started(setup, asked, steps=steps))


def loralab(*arguments: str) -> str:
    """The standard output of a ``loralab`` command."""
    done = subprocess.run(
        [sys.executable, "-m", "tabtune_core", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"loralab {arguments[0]} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for found in PARTS[sys.argv[1]](json.loads(sys.argv[2])):
        print(json.dumps(found), flush=True)

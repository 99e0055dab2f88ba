"""Measures in under half an hour what must be known first on a machine with a CUDA GPU.

``python tests/benchmarks/first_hour_on_a_card.py --out first_hour.json`` measures; ``--write`` also writes the page of
that name. Every part has a time limit; a part that fails or is late is recorded with its error, and the others follow.
``--dry-run`` does everything on the CPU (or on the pretend GPU, with ``tests/fakes/pretend_card`` on PYTHONPATH), with
tiny sizes and a fake driver, and writes no page. ``--page first_hour.json`` writes the page of an earlier measurement.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

BENCHMARKS = Path(__file__).parent
sys.path[:0] = [str(BENCHMARKS.parents[1]), str(BENCHMARKS), str(BENCHMARKS.parent / "fakes")]
import first_hour_page  # noqa: E402
from named_machine import machine  # noqa: E402
from published import PAGES  # noqa: E402

from tabtune_core.gpus import TYPES  # noqa: E402

BUDGETS = {"gpu tests": 480, "estimate": 300, "step times": 360, "memory": 180, "sweep": 240, "two runs at once": 150}
"""Time limits of the parts in their order, in seconds; together less than 30 minutes."""
PAGE = PAGES / "first_hour_on_a_card.md"


@dataclass(frozen=True, slots=True)
class Part:
    """The result of one part."""

    name: str
    status: str
    """'done', 'failed' or 'late'."""
    seconds: float
    found: list[dict[str, Any]]
    error: str = ""


def carried_out(name: str, command: Sequence[str], budget: float) -> Part:
    """Runs a part; when its time is over, ends it and everything it started, and keeps what it printed until then."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=out, stderr=said)
        try:
            status = "failed" if process.wait(timeout=budget) else "done"
        except subprocess.TimeoutExpired:
            status = "late"
            _end(process)
        seconds = time.monotonic() - began
        out.seek(0)
        said.seek(0)
        found = [json.loads(line) for line in out if line.startswith("{") and line.endswith("}\n")]
        last = ([line for line in said.read().splitlines() if line.strip()] or [f"exit status {process.returncode}"])[
            -1
        ]
    error = {"done": "", "failed": last, "late": f"It was ended after {budget:g} s."}[status]
    return Part(name, status, round(seconds, 1), found, error)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kills a part and what it started, and waits until all is gone, since it would hold GPU memory."""
    ours = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in ours:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    psutil.wait_procs(ours, timeout=10)


def measure(
    device: str,
    *,
    tiny: bool,
    facts: dict[str, Any],
    keep: Callable[[dict[str, Any]], None],
    run: Callable[..., Part] = carried_out,
) -> dict[str, Any]:
    """Runs all parts in their order and passes the results so far to ``keep`` after each."""
    whole: dict[str, Any] = {"dry_run": tiny, "device": device, "facts": facts, "machine": machine(), "parts": []}
    for name, budget in BUDGETS.items():
        with tempfile.TemporaryDirectory() as folder:
            setup = json.dumps({"device": device, "tiny": tiny, "folder": folder})
            part = run(name, [sys.executable, str(BENCHMARKS / "card_parts.py"), name, setup], budget)
        print(
            f"{name}: {part.status} after {part.seconds:.0f} s, {len(part.found)} "
            f"lines{f'; {part.error}' if part.error else ''}"
        )
        whole["parts"].append(asdict(part))
        keep(whole)
    return whole


def card_facts(library: Any, uuid: str) -> dict[str, Any]:
    """The driver's facts about itself and a GPU."""
    from tabtune_core.training.memory.meters import NvmlReader, pid_of_driver

    reader = NvmlReader(library, uuid, pid_of_driver())
    handle, driver = library.nvmlDeviceGetHandleByUUID(uuid), library.nvmlSystemGetDriverVersion()
    return {
        "name": _text(library.nvmlDeviceGetName(handle)),
        "driver": _text(driver),
        "total_bytes": library.nvmlDeviceGetMemoryInfo(handle).total,
        "exclusive_process": library.nvmlDeviceGetComputeMode(handle) == library.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS,
        "idle": reader.sample(),
        "host_pids": pid_of_driver() is not None,
    }


def _text(words: str | bytes) -> str:
    return words.decode() if isinstance(words, bytes) else words


def made_up() -> tuple[Any, str]:
    """A fake driver with one GPU, for a dry run."""
    from fake_nvml import Driver

    return Driver("GPU-made-up", names=["a card that is made up"]), "GPU-made-up"


def real() -> tuple[Any, str] | None:
    """The driver and the first GPU that torch would use; None without a GPU."""
    import pynvml
    import torch

    from tabtune_core.gpus import card_uuids

    uuids = card_uuids()
    return (pynvml, uuids[0]) if uuids and torch.cuda.is_available() else None


def no_card() -> str:
    """The message for a machine without a GPU."""
    import torch

    from tabtune_core.gpus import count_cards

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return (
        f"A CUDA card was looked for, and torch {torch.__version__} ({built}) sees {torch.cuda.device_count()} and "
        "the NVIDIA driver names "
        f"{count_cards()}, so that nothing was measured; --dry-run goes through all of it on the CPU."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, saves, and writes the page with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("first_hour.json"),
        help="JSON of all that was found (default: first_hour.json)",
    )
    parser.add_argument("--write", action="store_true", help=f"make {PAGE.name} of it")
    parser.add_argument("--page", type=Path, metavar="FILE.json", help="measure nothing, make the page of this file")
    parser.add_argument(
        "--dry-run", action="store_true", help="on the CPU, tiny, with a driver that is made up; no page"
    )
    asked = parser.parse_args(arguments)
    if asked.page:
        return write_page(json.loads(asked.page.read_text()))
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # so that torch's first GPU is the driver's
    found = made_up() if asked.dry_run else real()
    if found is None:
        print(no_card())
        return 0

    def keep(whole: dict[str, Any]) -> None:
        asked.out.write_text(json.dumps(whole, indent=1))

    device = "cpu" if asked.dry_run and len(TYPES) == 1 else "cuda:0"
    whole = measure(device, tiny=asked.dry_run, facts=card_facts(*found), keep=keep)
    if asked.dry_run:
        print(first_hour_page.page(whole))
        return 0
    return write_page(whole) if asked.write else 0


def write_page(whole: dict[str, Any], path: Path = PAGE) -> int:
    """Writes the page into docs; refuses a dry run."""
    if whole["dry_run"]:
        print("This file is of a dry run: nothing in it was measured on a card, and no page is made of it.")
        return 2
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(first_hour_page.page(whole))
    print(f"Wrote {path}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

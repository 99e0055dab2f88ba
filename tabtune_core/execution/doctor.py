"""Quick checks of what runs need on this machine, each with what to do about a problem.

In: a workspace. Out: checks. Loads no torch, and nothing leaves the machine.
"""

import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tabtune_core.errors import TabTuneError
from tabtune_core.execution.cluster import why_not_joined
from tabtune_core.execution.lock import worker_of
from tabtune_core.gpus import card_memory, card_names, driver
from tabtune_core.machine import disk_of, machine_memory
from tabtune_core.models.catalogue import CATALOGUE, FAMILIES
from tabtune_core.models.checkpoints import is_here
from tabtune_core.shortage import why_nothing_starts
from tabtune_core.store.database import refuse_network
from tabtune_core.store.runs import RunStore
from tabtune_core.upstream import DISTRIBUTION, installed_now
from tabtune_core.wording import few

State = Literal["ok", "note", "problem"]
SPARE_BYTES = 2_000_000_000
"""Free space on a disk or in memory below which a released model or a large table may not fit."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    state: State
    """``note`` is worth knowing, ``problem`` keeps runs from working."""
    fact: str
    advice: str = ""
    """What to do; empty if nothing."""


def examine(home: Path) -> list[Check]:
    """Makes all checks, in the order in which a person would look."""
    return [*_software(), *_gpus(), *_room(home), *_workspace(home)]


def report(checks: list[Check]) -> str:
    """Writes the checks as text, for a terminal and for bug reports."""
    width = max(len(check.name) for check in checks)
    lines = [f"{check.state:<8}{check.name:<{width}}  {check.fact} {check.advice}".rstrip() for check in checks]
    return "\n".join(lines)


def _software() -> Iterator[Check]:
    yield Check("Python", "ok", f"{platform.python_version()} at {sys.executable}, {platform.platform()}")
    yield Check("LoRA Lab", "ok", f"{installed_now(DISTRIBUTION) or 'not installed'} at {Path(__file__).parents[2]}")
    torch, cuda = installed_now("torch"), _cuda_of_torch()
    built = f"made for CUDA {cuda}" if cuda else "without CUDA"
    yield Check("torch", "ok" if torch else "problem", f"{torch or 'not installed'}, {built}")
    for family in FAMILIES.values():
        version, tested = family.upstream.installed, ", ".join(family.upstream.tested)
        if version is None:
            yield Check(family.name, "note", f"{family.distribution} is not installed.", f"Run: {family.install}")
            continue
        state: State = "ok" if family.upstream.is_tested else "note"
        cards = [card for card in CATALOGUE.values() if card.family is family]
        titles = [f"{card.title} ({card.licence})" for card in cards if any(map(is_here, card.weights.values()))]
        here = few(titles, 9) or "none"
        yield Check(family.name, state, f"{family.distribution} {version} (tested: {tested}), weights here: {here}")


def _cuda_of_torch() -> str | None:
    """Reads from torch's ``version.py`` the CUDA version that it was built for; None for a build without."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    match = re.search(r"^cuda\b[^=\n]*= *'([\d.]+)", file.read_text(), re.MULTILINE) if file else None
    return match[1] if match else None


def _gpus() -> Iterator[Check]:
    versions, cuda = driver(), _cuda_of_torch()
    if versions is None:
        yield Check("NVIDIA driver", "note", "no driver answers (NVML).", "Runs use the CPU, enough for small models.")
        return
    too_old = cuda is not None and int(cuda.split(".")[0]) > int(versions[1].split(".")[0])
    advice = f"torch was made for CUDA {cuda}: install a newer driver, or a torch for CUDA {versions[1]}."
    fact = f"{versions[0]}, for CUDA up to {versions[1]}."
    yield Check("NVIDIA driver", "problem" if too_old else "ok", fact, advice if too_old else "")
    if not (names := card_names()):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = "torch has no CUDA: install its CUDA build" if cuda is None else f"CUDA_VISIBLE_DEVICES is {visible!r}"
        yield Check("GPUs", "note", f"runs see none: {why}.")
    for place, (name, room) in enumerate(zip(names, card_memory(), strict=True)):
        free = f"{room[0] / 1e9:,.1f} of {room[1] / 1e9:,.1f} GB free" if room else "memory unknown"
        yield Check(f"cuda:{place}", "ok", f"{name}, {free}")


def _room(home: Path) -> Iterator[Check]:
    free, total = disk_of(home) or (0, 0)
    for name, (left, size) in {"Disk of the workspace": (free, total), "Memory": machine_memory()}.items():
        fact = f"{left / 1e9:,.1f} of {size / 1e9:,.1f} GB free"
        yield Check(name, "note" if left < SPARE_BYTES else "ok", fact)


def _workspace(home: Path) -> Iterator[Check]:
    above = next(place for place in (home, *home.absolute().parents) if place.exists())
    try:
        refuse_network(home)
        why = why_nothing_starts(above) if above.is_dir() else f"{above} is a file. Choose another with --home."
        waiting = len(RunStore(home).runs(status="queued")) if (home / "runs.sqlite").exists() else 0
    except TabTuneError as error:
        why, waiting = str(error), 0
    yield Check("Workspace", "problem" if why else "ok", f"{home}: {waiting} queued.", why or "")
    worker = worker_of(home)
    if worker is None and (why := why_not_joined(home)):
        yield Check("Cluster", "problem", "the last worker could not join it.", why)
    runs = f"process {worker}, log: {home / 'worker.log'}" if worker is not None else "does not run; the pages start it"
    yield Check("Worker", "ok", runs)

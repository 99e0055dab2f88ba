"""Quick checks of what runs need on this machine, each with what to do about a problem.

In: a workspace. Out: checks. Loads no torch, whose import alone takes longer than all the checks; its version and that
of its CUDA are read from the package's files. Nothing leaves the machine unless ``online`` is true.
"""

import os
import platform
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement  # of huggingface_hub and streamlit

from tabtune_core.errors import TabTuneError
from tabtune_core.execution.cluster_file import why_not_joined
from tabtune_core.execution.lock import is_stopped, worker_of
from tabtune_core.gpus import card_memory, card_names, count_cards, driver
from tabtune_core.machine import disk_of, machine_memory
from tabtune_core.models.catalogue import CATALOGUE, FAMILIES, WEIGHTS
from tabtune_core.models.checkpoints import is_here
from tabtune_core.shortage import why_nothing_starts
from tabtune_core.store.database import refuse_network
from tabtune_core.store.runs import RunStore
from tabtune_core.upstream import DISTRIBUTION, installed_now
from tabtune_core.wording import counted

State = Literal["ok", "note", "problem"]
SPARE_BYTES = 2_000_000_000
"""Free space on a disk or in memory below which a released model or a large table may not fit."""
HUB_SECONDS = 3.0
"""How long Hugging Face may take to answer."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    state: State
    """``note`` is worth knowing, ``problem`` keeps runs from working."""
    found: str
    advice: str = ""
    """What to do; empty if nothing."""


def examine(home: Path, *, online: bool = False) -> list[Check]:
    """Makes all checks, in the order in which a person would look."""
    return [*_software(), *_gpus(), *_other_gpu(), *_weights(), _hub(online=online), *_room(home), *_workspace(home)]


def report(checks: list[Check]) -> str:
    """Writes the checks as text, for a terminal and for bug reports."""
    marks, width = {"ok": "ok", "note": "note", "problem": "PROBLEM"}, max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{marks[check.state]:<8}{check.name:<{width}}  {check.found}")
        lines += [f"{'':<{width + 10}}{check.advice}"] if check.advice else []
    return "\n".join(lines)


def _software() -> Iterator[Check]:
    yield Check("Python", "ok", f"{platform.python_version()} at {sys.executable}, {platform.platform()}")
    yield Check("LoRA Lab", "ok", f"{installed_now(DISTRIBUTION) or 'not installed'} at {Path(__file__).parents[2]}")
    yield _torch()
    for family in FAMILIES.values():
        there, tested = family.upstream.installed, ", ".join(family.upstream.tested)
        if there is None:
            yield Check(
                family.name,
                "note",
                f"{family.distribution} is not installed",
                f"To use {family.name}, run: {family.install}",
            )
        elif not family.upstream.is_tested:
            advice = f"Runs use the package's own code without our shortcuts, which takes longer. Tested: {tested}."
            yield Check(family.name, "note", f"{family.distribution} {there} is not among the tested versions", advice)
        else:
            yield Check(family.name, "ok", f"{family.distribution} {there} (tested: {tested})")
    if unmet := list(_unmet()):
        yield Check(
            "Other packages",
            "problem",
            "; ".join(unmet),
            "Install LoRA Lab again, which brings the versions that it needs.",
        )
    else:
        yield Check("Other packages", "ok", "all required packages are installed in matching versions")


def _unmet() -> Iterator[str]:
    """Yields our own requirements that the installed packages do not meet; none if LoRA Lab itself is not installed."""
    try:
        needed = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        return
    for one in needed:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        there = installed_now(one.name)
        if there is None:
            yield f"{one.name} is missing"
        elif not one.specifier.contains(there, prereleases=True):
            yield f"{one.name} {there}, needed {one.specifier}"


def _torch() -> Check:
    there = installed_now("torch")
    if there is None:
        return Check("torch", "problem", "not installed", "Install LoRA Lab again, or torch from pytorch.org.")
    cuda = _made_for("cuda")
    return Check("torch", "ok", f"{there}, {f'made for CUDA {cuda}' if cuda else 'without CUDA'}")


def _made_for(what: str) -> str | None:
    """Reads from torch's ``version.py`` the version of CUDA (or ``hip``, ``xpu``) that it was built for; None for a
    build without.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    found = re.search(
        rf"^{what}\b[^=\n]*= *'([\d.]+)", Path(spec.origin).with_name("version.py").read_text(), re.MULTILINE
    )
    return found[1] if found else None


def _other_gpu() -> Iterator[Check]:
    """Checks an Apple, Intel or AMD GPU. Loads torch if there may be one, because only torch knows."""
    if not _may_have_another():
        return
    from tabtune_core.devices import describe_device, resolve_device, unproven_gpu

    name = unproven_gpu()
    try:
        if name:
            found = describe_device(resolve_device(name))
            yield Check(
                name,
                "ok",
                f"{found} gives the CPU's numbers in a small training step",
                f"'auto' never takes it: choose {name}.",
            )
    except TabTuneError as error:
        yield Check(name or "GPU", "note", str(error), "Runs use the CPU.")


def _may_have_another() -> bool:
    return bool(_made_for("hip") or _made_for("xpu")) or (sys.platform, platform.machine()) == ("darwin", "arm64")


def _gpus() -> Iterator[Check]:
    told, cuda = driver(), _made_for("cuda")
    if told is None:
        yield _silent()
        return
    found = f"{told.version}, for CUDA up to {told.cuda}"
    if cuda is not None and int(cuda.split(".")[0]) > int(told.cuda.split(".")[0]):
        advice = f"torch was made for CUDA {cuda}: install a newer driver, or a torch for CUDA {told.cuda}."
        yield Check("NVIDIA driver", "problem", found, advice)
    else:
        yield Check("NVIDIA driver", "ok", found)
    names, memory = card_names(), card_memory()
    if not names:
        why = (
            "torch has no CUDA"
            if cuda is None
            else f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')!r}"
        )
        advice = (
            "Install the CUDA build of torch from pytorch.org."
            if cuda is None
            else "Name GPUs of this machine in it, or unset it."
        )
        yield Check("GPUs", "note", f"{told.gpus} here, but runs cannot use them: {why}", advice)
    for place, (name, room) in enumerate(zip(names, memory, strict=True)):
        free = "memory unknown" if room is None else f"{room[0] / 1e9:,.1f} of {room[1] / 1e9:,.1f} GB free"
        yield Check(f"cuda:{place}", "ok", f"{name}, {free}")


def _silent() -> Check:
    if seen := count_cards():
        advice = (
            "Runs use it, without the driver's readings of memory. In a container, allow the driver capability "
            "'utility'."
        )
        return Check(
            "NVIDIA driver", "note", f"it does not answer (NVML), but torch sees {counted(seen, 'GPU')}", advice
        )
    if any(Path("/proc/driver/nvidia").glob("gpus/*")):
        return Check(
            "NVIDIA driver",
            "problem",
            "a GPU is here, but its driver does not answer (NVML)",
            "Install the driver again.",
        )
    return Check(
        "NVIDIA driver", "note", "no driver answers (NVML)", "Runs use the CPU, which is enough for the small models."
    )


def _weights() -> Iterator[Check]:
    for family in FAMILIES.values():
        cards = [card for card in CATALOGUE.values() if card.family is family]
        everything = [(card, weights) for card in cards for weights in card.weights.values()]
        damaged = sorted(
            {
                weights.file
                for _, weights in everything
                if weights.repository is None and not (WEIGHTS / weights.file).exists()
            }
        )
        if damaged:
            yield Check(
                f"{family.name} weights", "problem", f"missing: {', '.join(damaged)}", "Install LoRA Lab again."
            )
            continue
        here = {card.title: f"{card.title} ({card.licence})" for card, weights in everything if is_here(weights)}
        named = {card.title: f"{card.title} ({card.licence})" for card, weights in everything if weights.by_path}
        absent = [card.title for card in cards if card.title not in {**here, **named}]
        told = {"here": here.values(), "not here": absent, "only by path": named.values()}
        found = "; ".join(f"{where}: {', '.join(titles)}" for where, titles in told.items() if titles)
        yield Check(
            f"{family.name} weights",
            "ok",
            found,
            "Missing weights are downloaded when you choose the model." if absent else "",
        )


def _hub(*, online: bool) -> Check:
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return Check(
            "Hugging Face",
            "note",
            "HF_HUB_OFFLINE is set: nothing is downloaded",
            "Unset it to download a released model.",
        )
    if not online:
        return Check("Hugging Face", "ok", "not checked; 'loralab doctor --online' checks it")
    try:
        request = urllib.request.Request(ENDPOINT, method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_SECONDS):  # uses https_proxy
            pass
    except urllib.error.HTTPError:
        pass  # it answers
    except (OSError, ValueError, HTTPException) as error:  # ValueError: HF_ENDPOINT is not an address
        why = getattr(error, "reason", None) or error
        advice = (
            "Only models whose weights are here work. Behind a proxy set https_proxy; to use a mirror set HF_ENDPOINT."
        )
        return Check("Hugging Face", "note", f"{ENDPOINT} cannot be reached: {why}", advice)
    return Check("Hugging Face", "ok", f"{ENDPOINT} answers")


def _room(home: Path) -> Iterator[Check]:
    for name, path in (("Disk of the workspace", home), ("Disk of temporary files", Path(tempfile.gettempdir()))):
        disk = disk_of(path)
        if disk is None:
            yield Check(name, "problem", f"{path} cannot be read", "Choose another folder.")
            continue
        few = disk.free_bytes < SPARE_BYTES
        found = f"{path}: {disk.free_bytes / 1e9:,.1f} of {disk.total_bytes / 1e9:,.1f} GB free"
        yield Check(
            name,
            "note" if few else "ok",
            found,
            "Large tables and models need more. Delete what is not needed." if few else "",
        )
    available, total = machine_memory()
    few = available < SPARE_BYTES
    found = f"{available / 1e9:,.1f} of {total / 1e9:,.1f} GB available, {os.cpu_count()} processors"
    yield Check(
        "Memory", "note" if few else "ok", found, "A run takes 0.5 GB and more. End other programs." if few else ""
    )


def _workspace(home: Path) -> Iterator[Check]:
    if not (home / "runs.sqlite").exists():
        why = _why_unusable(home)
        yield Check("Workspace", "problem" if why else "ok", f"{home} is empty; it is created on first use", why)
        return
    try:
        store = RunStore(home)
    except TabTuneError as error:
        yield Check("Workspace", "problem", str(error))
        return
    going, waiting = len(store.runs(status="running")), len(store.runs(status="queued"))
    why = why_nothing_starts(home) or ""
    yield Check("Workspace", "problem" if why else "ok", f"{home}: {going} running, {waiting} queued", why)
    worker = worker_of(home)
    if worker is None and (why := why_not_joined(home)):
        yield Check("Cluster", "problem", "the last worker could not join it", why)
    if worker is None:
        how = "was stopped" if is_stopped(home) else "does not run"
        yield Check(
            "Worker",
            "note" if waiting else "ok",
            f"{how}; the pages and commands start it",
            "Start it: loralab worker" if waiting else "",
        )
    elif worker.suspended:
        advice = f"Let it go on with 'kill -CONT {worker.pid}', or end it with 'kill -9 {worker.pid}'."
        yield Check("Worker", "problem", f"process {worker.pid} is suspended", advice)
    else:
        yield Check("Worker", "ok", f"process {worker.pid}, log: {home / 'worker.log'}")


def _why_unusable(home: Path) -> str:
    """Says why a workspace cannot be made there; empty if it can."""
    there = next(place for place in (home, *home.absolute().parents) if place.exists())
    if not there.is_dir():
        return f"{there} is a file. Choose another folder with --home or TABTUNE_HOME."
    try:
        refuse_network(home)
    except TabTuneError as error:
        return str(error)
    return why_nothing_starts(there) or ""

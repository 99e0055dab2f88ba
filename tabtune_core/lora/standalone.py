"""An adapter from a file, not yet on a model: ``lora_adapters.pt`` of the guide's section 10.1, or a run's package."""

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from tabtune_core.errors import AdapterError
from tabtune_core.files.archives import open_zip
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.plain_values import SHA256, only
from tabtune_core.files.torch_files import FLOATS, read_torch_file
from tabtune_core.files.whole import in_one_move
from tabtune_core.lora.adapted_layer import PREFIX, SIDES
from tabtune_core.lora.hub import at_hand
from tabtune_core.lora.inject import LoraReport
from tabtune_core.lora.package import read_package
from tabtune_core.lora.package_reader import FACTS
from tabtune_core.metrics import Task
from tabtune_core.settings import LoraSettings
from tabtune_core.upstream import Licence
from tabtune_core.variants import VARIANTS

_SIDES = dict(zip(("lora_a", "lora_b"), SIDES, strict=True))
_WRITTEN = ("rank", "alpha", *_SIDES, "scaling", "settings", "tensors", "task", "model", "base_sha256", "licence")
"""Entries of a file that ``save_adapter`` writes; the first four are those of the guide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraAdapter:
    """An adapter for a pipeline's ``load_adapter``; task, model and base are None for a file written by hand."""

    settings: LoraSettings
    tensors: dict[str, Tensor]
    """The adapter's tensors, named as PEFT names them."""
    task: Task | None
    model: str | None
    """Name of the base model in the catalogue."""
    base_sha256: str | None
    """SHA-256 of the base's weights."""

    def check_task(self, task: str) -> None:
        """Raises AdapterError for a task other than the adapter's own."""
        if task not in get_args(Task):
            raise AdapterError(f"There are no adapters for {task!r}, only for {' and '.join(get_args(Task))}.")
        if self.task not in (None, task):
            other = f"The adapter of {self.model} was trained for {self.task} and cannot be used for {task}"
            raise AdapterError(f"{other}. Load one that was trained for {task}, or train one.")


def load_lora_adapter(path: str | Path, *, task: str | None = None) -> LoraAdapter:
    """Reads an adapter: ``lora_adapters.pt`` as ``save_adapter`` writes it, or the package (zip) of a run.

    Args:
        path: the file, or ``hf://owner/name`` of a package on the Hugging Face Hub.
        task: the required task, 'classification' or 'regression'; by default any.

    Raises:
        AdapterError: the file is not an adapter, or is for another task.
    """
    path = at_hand(path)
    adapter = _from_package(path) if _is_package(path) else _from_tensors(path)
    if task is not None:
        adapter.check_task(task)
    return adapter


def write_plain(path: str | Path, adapter: LoraAdapter, report: LoraReport, licence: Licence) -> None:
    """Writes ``rank``, ``alpha``, ``lora_a`` and ``lora_b`` by layer, and all else that ``load_lora_adapter`` needs.

    ``scaling`` has each layer's. With PiSSA ``lora_a`` and ``lora_b`` are the factors of the update, of twice the
    rank, and ``tensors`` has A and B themselves.
    """
    lora = adapter.settings
    sides = _sides([layer.path for layer in report.layers], lora.variant, adapter.tensors)
    content = {
        "rank": lora.rank,
        "alpha": lora.effective_alpha,
        **sides,
        "scaling": {layer.path: layer.scaling for layer in report.layers},
        "settings": asdict(lora),
        "tensors": adapter.tensors,
        "task": adapter.task,
        "model": adapter.model,
        "base_sha256": adapter.base_sha256,
        "licence": str(licence),
    }
    with in_one_move(Path(path)) as partial, partial.open("wb") as stream:
        torch.save(content, stream)


def _sides(paths: Iterable[str], variant: str, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Returns the factors of each layer's update as ``lora_a`` and ``lora_b``, by path."""
    sides: dict[str, dict[str, Tensor]] = {side: {} for side in _SIDES}
    for path in paths:
        start = f"{PREFIX}{path}."
        own = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
        a, b = (next((own[end[1:]] for end in ends if end[1:] in own), None) for ends in _SIDES.values())
        if a is None or b is None:
            raise Damaged(f"a factor of {path!r} is missing")
        sides["lora_a"][path], sides["lora_b"][path] = VARIANTS[variant].update(a, b, own)
    return sides


def _is_package(path: Path) -> bool:
    """Whether a file is a package. Files of ``torch.save`` are zips too, but all their entries lie in a folder."""
    with (
        refused_as(AdapterError, f"{path.name} is not an adapter"),
        open_zip(path, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) as (archive, _),
    ):
        return FACTS in archive.namelist()


def _from_package(path: Path) -> LoraAdapter:
    package = read_package(path)
    run, base = package.facts.settings, package.facts.base.sha256
    return LoraAdapter(settings=run.lora, tensors=package.tensors, task=run.task, model=run.model, base_sha256=base)


def _from_tensors(path: Path) -> LoraAdapter:
    with refused_as(AdapterError, f"{path.name} is not an adapter", " Save it again with save_adapter."):
        content = read_torch_file(path)
        if not isinstance(content, dict) or not {"rank", "alpha", *_SIDES} <= content.keys():
            raise Damaged("it needs the entries 'rank', 'alpha', 'lora_a' and 'lora_b'")
        adapter = _written(content) if "tensors" in content else _by_hand(content)
        plain = (isinstance(one, Tensor) and one.dtype in FLOATS for one in adapter.tensors.values())
        if not adapter.tensors or not all(plain) or not all(isinstance(name, str) for name in adapter.tensors):
            raise Damaged("its tensors are not those of an adapter")
        return adapter


def _written(content: Mapping[str, Any]) -> LoraAdapter:
    """Reads the content that ``save_adapter`` writes."""
    only(content, _WRITTEN, "it")
    task, model, sha256 = (content[name] for name in ("task", "model", "base_sha256"))
    known = task in (None, *get_args(Task)) and isinstance(model, str | None)
    if not known or not (sha256 is None or SHA256.fullmatch(sha256)):
        raise Damaged("its task, model or SHA-256 of the base is invalid")
    lora, tensors = LoraSettings(**content["settings"]), dict(content["tensors"])
    return LoraAdapter(settings=lora, tensors=tensors, task=task, model=model, base_sha256=sha256)


def _by_hand(content: Mapping[str, Any]) -> LoraAdapter:
    """Reads content in the form of the guide's section 10.1; entries other than its four are ignored."""
    settings = LoraSettings(rank=content["rank"], alpha=content["alpha"], targets=tuple(content["lora_a"]))
    named = ((f"{PREFIX}{layer}{_SIDES[side][0]}", value) for side in _SIDES for layer, value in content[side].items())
    return LoraAdapter(settings=settings, tensors=dict(named), task=None, model=None, base_sha256=None)

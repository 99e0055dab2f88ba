"""Adapters that were made elsewhere, kept in the workspace. Loads no torch.

In: a package (zip) from another machine. Out: ``home/adapters/<id>/`` with ``adapter.zip`` as given and ``about.json``; whether its base
is here. The id is the hash of the file: no name of a person's is part of a path, and no code in the file is run.
"""

import functools
import hashlib
import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import safetensors

from tabtune_core.data.findings import Kind, ReadingChoices
from tabtune_core.errors import AdapterError, CheckpointError, TabTuneError
from tabtune_core.lora.package_reader import ADAPTER_FILE, TENSORS, read_parts
from tabtune_core.models.catalogue import CATALOGUE, named_checkpoint
from tabtune_core.models.checkpoints import find_checkpoint, is_here, sha256_of
from tabtune_core.scratch import scratch_folder
from tabtune_core.settings import RunSettings

ID = re.compile(r"[0-9a-f]{64}")
LIMIT_BYTES = 200_000_000
"""Of a file."""
UNPACKED_LIMIT_BYTES = 500_000_000
MOST_VIEWS = 64
"""A package that asks for more would keep the machine busy, not predict better."""
MOST_TABLE_ROWS = 2**53
"""Of the table that an adapter was trained on; a larger number is no row's."""
LONGEST_NAME = 1_000
"""Letters in the names that a page shows: of the file of a table, of weights."""
_KINDS: dict[str, type | tuple[type, ...]] = {
    "base.model": str,
    "base.file": str,
    "base.sha256": str,
    "settings": dict,
    "classes": list,
    "table.name": str,
    "table.id": str,
    "table.rows": int,
    "reading": dict,
    "kinds": dict,
    "features": list,
    "context.rows": list,
    "context.sha256": str,
    "layers": list,
    "biases": list,
}
"""Entries of ``tabtune.json`` that a prediction needs."""


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """What the workspace knows of an adapter from elsewhere."""

    id: str
    """SHA-256 of the file, in hex; the name of its folder."""
    name: str
    """Of the file that was given; for people, never part of a path."""
    created: float
    """Unix seconds."""
    size_bytes: int
    facts: dict[str, Any]
    """What its ``tabtune.json`` says."""
    checkpoint: str | None = None
    """Weights of its base on this machine, where a person named them."""

    @property
    def settings(self) -> RunSettings:
        """Those of the run that made it."""
        return RunSettings.of_package(self.facts["settings"])


def add_adapter(home: Path, data: bytes, name: str) -> StoredAdapter:
    """Checks a package and keeps it. The same file is kept once, under the first name.

    Raises:
        AdapterError: it is none, is damaged or too large, or lacks something; then nothing is kept.
    """
    if len(data) > LIMIT_BYTES:
        raise AdapterError(f"The file has {len(data) / 1e6:,.0f} MB; an adapter may have {LIMIT_BYTES / 1e6:.0f}.")
    identity = hashlib.sha256(data).hexdigest()
    adapters = home / "adapters"
    adapters.mkdir(parents=True, exist_ok=True)
    with scratch_folder(adapters, "incoming-") as folder:
        (folder / ADAPTER_FILE).write_bytes(data)
        stored = StoredAdapter(identity, name, time.time(), len(data), check_package(folder / ADAPTER_FILE))
        _write(folder, stored)
        if not (adapters / identity).exists():
            folder.rename(adapters / identity)
    return get_adapter(home, identity)


def check_package(path: Path) -> dict[str, Any]:
    """What a package says of itself, once it is known to be whole.

    Raises:
        AdapterError: naming what is wrong.
    """
    facts, content = read_parts(path, limit_bytes=UNPACKED_LIMIT_BYTES)
    _check_entries(facts)
    try:
        settings = RunSettings.of_package(facts["settings"])
        ReadingChoices.from_json(facts["reading"])
    except (TabTuneError, TypeError, ValueError, KeyError) as error:
        raise AdapterError(f"The settings in the package cannot be read: {error}") from error
    if settings.strategy != "peft" or not 1 <= settings.train.views <= MOST_VIEWS or settings.model != facts["base"]["model"]:
        raise AdapterError("The settings in the package are those of no LoRA run.")
    try:
        tensors = dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise AdapterError(f"{TENSORS} in the package cannot be read ({error}); it is damaged.") from error
    if not tensors:
        raise AdapterError(f"{TENSORS} in the package is empty; there is no adapter in it.")
    return facts


def _check_entries(facts: Mapping[str, Any]) -> None:
    """Refuses facts that lack what a prediction needs, or that no run wrote."""
    for entry, kind in _KINDS.items():
        value: Any = facts
        for part in entry.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if not isinstance(value, kind):
            raise AdapterError(f"The package lacks the entry '{entry}' in its tabtune.json, or it is of another kind; it is damaged.")
    shown = (facts["table"]["name"], facts["table"]["id"], facts["base"]["file"], facts["base"]["sha256"])
    if any(len(text) > LONGEST_NAME for text in shown) or not _is_text(facts):
        raise AdapterError("The package's tabtune.json holds names that no table or file has; it is damaged.")
    rows, names = facts["context"]["rows"], [*facts["classes"], *facts["features"]]
    if (
        not rows
        or not all(isinstance(row, int) and 0 <= row < MOST_TABLE_ROWS for row in rows)
        or not all(isinstance(name, str) for name in names)
    ):
        raise AdapterError("The context, the classes or the features in the package's tabtune.json are no list of its kind; it is damaged.")
    if not all(facts["kinds"].get(name) in get_args(Kind) for name in facts["features"]):
        raise AdapterError("The package does not say of each feature what kind of column it is; it is damaged.")


def _is_text(facts: Mapping[str, Any]) -> bool:
    """Whether all of it can be written down; half of a letter (a lone surrogate) cannot, and no page could show it."""
    try:
        json.dumps(facts, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def list_adapters(home: Path) -> list[StoredAdapter]:
    """Newest first, without those that cannot be read any more."""
    found = (_get_or_why(home, folder.name) for folder in (home / "adapters").glob("*") if ID.fullmatch(folder.name))
    return sorted((adapter for adapter in found if isinstance(adapter, StoredAdapter)), key=lambda adapter: adapter.created, reverse=True)


def damaged_adapters(home: Path) -> dict[str, str]:
    """Id -> why, of those whose description cannot be read."""
    names = sorted(folder.name for folder in (home / "adapters").glob("*") if ID.fullmatch(folder.name))
    found = {name: _get_or_why(home, name) for name in names}
    return {name: why for name, why in found.items() if isinstance(why, str)}


def _get_or_why(home: Path, identity: str) -> StoredAdapter | str:
    try:
        return get_adapter(home, identity)
    except AdapterError as error:
        return str(error)


def get_adapter(home: Path, identity: str) -> StoredAdapter:
    """One of them. Raises AdapterError where the workspace does not hold it, or what it knows of it cannot be read."""
    folder = folder_of(home, identity)
    try:
        adapter = StoredAdapter(**json.loads((folder / "about.json").read_text(encoding="utf-8")))
        _check_entries(adapter.facts)
        RunSettings.of_package(adapter.facts["settings"])
        if not isinstance(adapter.name, str) or not isinstance(adapter.created, int | float) or not isinstance(adapter.size_bytes, int):
            raise TypeError("an entry is of another kind")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise AdapterError(
            f"The adapter {identity[:12]} of the workspace cannot be read ({type(error).__name__}: {error})."
            " Delete it and add its file again."
        ) from error
    return adapter


def package_of(home: Path, identity: str) -> Path:
    """The file as it was given. Raises AdapterError where the workspace does not hold it."""
    return folder_of(home, identity) / ADAPTER_FILE


def folder_of(home: Path, identity: str) -> Path:
    """The folder of an adapter, from an id that we made."""
    folder = home / "adapters" / identity
    if not ID.fullmatch(identity) or not folder.is_dir():
        raise AdapterError(f"The workspace {home} holds no adapter {identity!r}. Add the file again.")
    return folder


def delete_adapter(home: Path, identity: str) -> None:
    """Removes an adapter. Raises AdapterError where the workspace does not hold it."""
    shutil.rmtree(folder_of(home, identity))


def name_checkpoint(home: Path, identity: str, path: str) -> StoredAdapter:
    """Notes where the weights of its base lie on this machine.

    Raises:
        AdapterError: they are not those that it was trained on.
        CheckpointError: there is no such file.
    """
    adapter = get_adapter(home, identity)
    settings = adapter.settings
    found = named_checkpoint(CATALOGUE[settings.model], settings.task, path)
    if _hash(found) != adapter.facts["base"]["sha256"]:
        raise AdapterError(f"{found} has the SHA-256 {_hash(found)}; the adapter was trained on {adapter.facts['base']['sha256']}.")
    named = StoredAdapter(**{**asdict(adapter), "checkpoint": str(found)})
    _write(folder_of(home, identity), named)
    return named


def missing_base(adapter: StoredAdapter) -> str | None:
    """None where the base that an adapter was trained on is here; else which one is missing, and how to get it."""
    settings, base = adapter.settings, adapter.facts["base"]
    if settings.model not in CATALOGUE:
        return f"It was trained on {settings.model!r}, a model that this version does not know. A newer version may."
    card = CATALOGUE[settings.model]
    if not card.family.installed:
        return str(card.family.missing_package())
    wanted = f"It was trained on {base['file']} (SHA-256 {base['sha256'][:12]}…)"
    try:
        weights = card.weights_for(settings.task)
        if adapter.checkpoint is not None:
            here = named_checkpoint(card, settings.task, adapter.checkpoint)
        elif settings.checkpoint is not None:
            return f"{wanted}, a weights file of somebody's own. Name where it lies on this machine."
        elif not is_here(weights):
            files = " ".join(weights.files)
            return (
                f"{wanted} from huggingface.co/{weights.repository}, which is not here yet. Get it with: "
                f"hf download {weights.repository} {files}"
            )
        else:
            here = _found(settings.model, settings.task)
    except TabTuneError as error:
        return str(error)
    if _hash(here) == base["sha256"]:
        return None
    return f"{wanted}; {here.name} on this machine is another file (SHA-256 {_hash(here)[:12]}…). Name the weights that it was trained on."


@functools.cache
def _found(model: str, task: Any) -> Path:
    return find_checkpoint(CATALOGUE[model], task)[0]


def _hash(path: Path) -> str:
    try:
        known = path.stat()
    except OSError as error:
        raise CheckpointError(f"There is no checkpoint at {path} any more. Name where it lies now.") from error
    return _hash_of(path, known.st_mtime_ns, known.st_size)


@functools.lru_cache(maxsize=64)
def _hash_of(path: Path, changed: int, size: int) -> str:
    return sha256_of(path)


def _write(folder: Path, adapter: StoredAdapter) -> None:
    partial = folder / "about.partial"
    partial.write_text(json.dumps(asdict(adapter), ensure_ascii=False), encoding="utf-8")
    partial.replace(folder / "about.json")

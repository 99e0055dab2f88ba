"""Adapters from elsewhere that are kept in the workspace. Loads no torch.

In: a package (zip) from another machine. Out: ``home/adapters/<id>/`` with the unchanged ``adapter.zip`` and
``about.json``; whether its base is on this machine. The id is the hash of the file: a name from a person is never part
of a path, and code in the file is never run.
"""

import functools
import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tabtune_core.data.datasets import delete_dataset, kept_in
from tabtune_core.errors import AdapterError, StoreError, TabTuneError, TargetError
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.plain_values import SHA256
from tabtune_core.files.tensors import read_tensors
from tabtune_core.files.whole import keep_folder, write_text
from tabtune_core.lora.hub import LIMIT_BYTES as LIMIT_BYTES
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.lora.package_reader import read_parts
from tabtune_core.metrics import Task
from tabtune_core.models.cards import adapted_ranks, adapter_size
from tabtune_core.models.catalogue import CATALOGUE, get_card
from tabtune_core.models.checkpoints import find_checkpoint, is_here
from tabtune_core.scratch import scratch_folder
from tabtune_core.settings import RunSettings
from tabtune_core.store.database import check_row
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore
from tabtune_core.upstream import LONGEST_NAME


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """Facts about an adapter from elsewhere."""

    id: str
    """SHA-256 of the file in hex, which is also the name of its folder."""
    name: str
    """Name of the uploaded file; for people, never part of a path."""
    created: float
    """Unix seconds."""
    size_bytes: int
    facts: PackageFacts
    """The content of its ``tabtune.json``."""

    @property
    def settings(self) -> RunSettings:
        """Returns the settings of the run that made it."""
        return self.facts.settings


def add_adapter(home: Path, data: bytes, name: str) -> StoredAdapter:
    """Checks a package and keeps it once, under its first name; raises AdapterError if it is damaged or too large."""
    if len(data) > LIMIT_BYTES:
        raise AdapterError(f"The file has {len(data) / 1e6:,.0f} MB; an adapter may have {LIMIT_BYTES / 1e6:.0f}.")
    identity, adapters = hashlib.sha256(data).hexdigest(), home / "adapters"
    adapters.mkdir(parents=True, exist_ok=True)
    with scratch_folder(adapters, "incoming-") as folder:
        (folder / ADAPTER_FILE).write_bytes(data)
        facts = check_package(folder / ADAPTER_FILE)
        about = {"id": identity, "name": name, "created": time.time(), "size_bytes": len(data)}
        write_text(folder / "about.json", json.dumps({**about, "facts": facts.to_json()}, ensure_ascii=False))
        keep_folder(folder, adapters / identity)
    return get_adapter(home, identity)


def check_package(path: Path) -> PackageFacts:
    """Returns the facts of a package; raises AdapterError unless it is complete and would open on its base."""
    facts, content = read_parts(path)
    settings = facts.settings
    if settings.model not in CATALOGUE or settings.checkpoint is not None:  # the layers are not known here
        return facts
    card = get_card(settings.model)
    if settings.task not in card.weights:
        return facts
    try:
        ranks = adapted_ranks(card, settings.task, settings.lora)
        size = adapter_size(card, settings.task, settings.lora)
    except TargetError as error:
        raise AdapterError(f"The package does not fit {card.title}: {error}") from error
    shapes = card.layers(settings.task).weights
    expected = {path: (rank, shapes[path]) for path, rank in ranks.items()}
    declared = {layer.path: (layer.rank, (layer.out_features, layer.in_features)) for layer in facts.layers}
    # the weight of an embedding is (in, out)
    declared |= {one.path: (one.rank, declared[one.path][1][::-1]) for one in facts.layers if one.kind == "embedding"}
    odd = [path for path in expected.keys() | declared.keys() if expected.get(path) != declared.get(path)]
    numbers = sum(tensor.numbers for tensor in read_tensors(content).values())
    if odd or numbers != size.trainable + size.frozen:
        which = f"its layer {min(odd)[:LONGEST_NAME]!r}" if odd else f"its number of values ({numbers:,})"
        differs = f"The package does not match its own settings for {card.title}: {which} differs"
        raise AdapterError(f"{differs}. Get the file again from where it was made.")
    return facts


def list_adapters(home: Path) -> list[StoredAdapter]:
    """Returns all adapters, newest first, without those that cannot be read any more."""
    return kept_in(home / "adapters", partial(get_adapter, home), AdapterError)[0]


def damaged_adapters(home: Path) -> dict[str, str]:
    """Returns id -> reason for adapters whose description cannot be read."""
    return kept_in(home / "adapters", partial(get_adapter, home), AdapterError)[1]


def get_adapter(home: Path, identity: str) -> StoredAdapter:
    """Returns an adapter. Raises AdapterError if the workspace does not have it, or its description is damaged."""
    about = folder_of(home, identity) / "about.json"
    start, end = f"The adapter {identity[:12]} of the workspace cannot be read", " Delete it and add its file again."
    with refused_as(AdapterError, start, end):
        values = json.loads(about.read_text(encoding="utf-8"))
        adapter = StoredAdapter(**{**values, "facts": PackageFacts.from_json(values["facts"])})
        if check_row(adapter).id != identity:
            raise Damaged(f"it describes the adapter {adapter.id[:12]}")
    return adapter


def package_of(home: Path, identity: str) -> Path:
    """Returns the path of the unchanged package. Raises AdapterError if the workspace does not have it."""
    return folder_of(home, identity) / ADAPTER_FILE


def folder_of(home: Path, identity: str) -> Path:
    """Returns the folder of an adapter. Raises AdapterError if the workspace does not have it."""
    folder = home / "adapters" / identity
    if not SHA256.fullmatch(identity) or not folder.is_dir():
        raise AdapterError(f"The workspace {home} holds no adapter {identity!r}. Add the file again.")
    return folder


def delete_adapter(store: RunStore, identity: str) -> None:
    """Deletes an adapter from elsewhere; raises StoreError if a queued or running job uses it."""
    store.refuse_while_used("this adapter", identity)
    shutil.rmtree(folder_of(store.home, identity), ignore_errors=True)


def missing_base(adapter: StoredAdapter) -> str | None:
    """Says which base an adapter needs and how to get it; None if that base is on this machine."""
    settings, base = adapter.settings, adapter.facts.base
    if settings.model not in CATALOGUE:
        return f"It was trained on {settings.model!r}, a model that this version does not know; a newer one may."
    card = get_card(settings.model)
    if not card.family.installed:
        return str(card.family.missing_package())
    wanted = f"It was trained on {base.file} (SHA-256 {base.sha256[:12]}…)"
    try:
        weights = card.weights_for(settings.task)
        if settings.checkpoint is not None:
            return f"{wanted}, a checkpoint of its own. Use it with: loralab predict --checkpoint FILE"
        if not is_here(weights):
            get = f"hf download {weights.repository} {' '.join(weights.files)}"
            return f"{wanted} from huggingface.co/{weights.repository}, which is not here yet. Get it with: {get}"
        here, identity = _found(card.name, settings.task)
    except TabTuneError as error:
        return str(error)
    if base.sha256 == identity:
        return None
    return f"{wanted}; {here.name} on this machine is another file (SHA-256 {identity[:12]}…)."


@functools.cache
def _found(model: str, task: Task) -> tuple[Path, str]:
    """Returns the weights of a model on this machine, and their SHA-256."""
    path, source = find_checkpoint(get_card(model), task)
    return path, source.sha256


def delete_table(store: RunStore, identity: str) -> None:
    """Deletes a table and its source; raises StoreError if a queued or running run or job uses it."""
    on_it = [run for run in store.runs() if run.settings.dataset == identity]
    busy = [run for run in on_it if run.status not in ENDED]
    if busy:
        raise StoreError(f"The {busy[0].status} run {busy[0].name} uses this table. Cancel it, or wait for its end.")
    store.refuse_while_used("this table", identity, *(run.id for run in on_it))
    delete_dataset(store.home, identity)

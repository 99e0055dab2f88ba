"""Finds the weights of a model with their SHA-256, or downloads them; never random weights. Loads no torch."""

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tabtune_core.errors import CheckpointError
from tabtune_core.files.damaged import Damaged, read_text
from tabtune_core.files.plain_values import read_json
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard, Weights
from tabtune_core.models.catalogue import WEIGHTS, named_checkpoint
from tabtune_core.upstream import Licence, Source


def find_checkpoint(card: ModelCard, task: Task, path: str | Path | None = None) -> tuple[Path, Source]:
    """Finds the weights file: the given path, the package's own file, the Hugging Face cache, or a download.

    Raises:
        CheckpointError: the file is missing (the error says where to get it), or its hash is not the published one.
    """
    weights = card.weights_for(task)
    repository = revision = None
    if path is not None:
        file = named_checkpoint(card, task, path)
    elif weights.repository is None:
        file = WEIGHTS / weights.file
    elif weights.by_path:
        raise card.without_path(task)
    else:
        repository = weights.repository
        file = _from_hub(card, weights)
        revision = file.parent.name if file.parent.parent.name == "snapshots" else None
    digest = sha256_of(file)
    published = file.resolve().name  # the Hugging Face cache names a large file by its SHA-256
    expected = weights.sha256 or (published if re.fullmatch("[0-9a-f]{64}", published) else None)
    if path is None and expected not in (None, digest):
        why = f"but {card.title} has {expected}: the file is damaged or a different one"
        raise CheckpointError(f"{file} has the SHA-256 {digest}, {why}. Delete it and try again.")
    licence = card.licence if path is None or weights.by_path or digest == weights.sha256 else Licence(None)
    identity = _with_beside(digest, file, weights.beside)
    return file, Source(card.name, file.name, repository, revision, identity, licence)


def is_here(weights: Weights) -> bool:
    """Whether weights are available without a download and without a path from the user."""
    from huggingface_hub import try_to_load_from_cache

    repository = weights.repository
    return repository is None or (
        not weights.by_path and all(isinstance(try_to_load_from_cache(repository, file), str) for file in weights.files)
    )


def _from_hub(card: ModelCard, weights: Weights) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    assert weights.repository is not None
    cached = is_here(weights)
    try:
        files = [Path(hf_hub_download(weights.repository, file, local_files_only=cached)) for file in weights.files]
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        command = f"`hf download {weights.repository} {' '.join(weights.files)}`"
        raise CheckpointError(
            f"{card.title} needs the file {' and beside it '.join(weights.files)} from "
            f"huggingface.co/{weights.repository}; it is not in the Hugging Face cache and could not be downloaded "
            f"({type(error).__name__}). On a machine with internet run {command} and copy it here, then set its path "
            "as the checkpoint; or choose TabICL mini, which ships with the package."
        ) from error
    return files[0]


def _with_beside(digest: str, file: Path, beside: Sequence[str]) -> str:
    """Returns the hash by which an adapter knows its base: the SHA-256 of the file, with the files ``beside`` it."""
    if not beside:
        return digest
    whole = hashlib.sha256(digest.encode())
    for name in beside:  # Mitra's config.json affects what the weights compute
        with suppress(Damaged):  # opening the model reports the damage
            content = read_json(read_text(file.with_name(Path(name).name), most_bytes=1_000_000).encode())
            whole.update(json.dumps(content, sort_keys=True).encode())
    return whole.hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the hex digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

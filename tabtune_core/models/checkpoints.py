"""Finds the weights of a model, or downloads them; never makes them up.

In: a model card and, if a person named one, a path. Out: a file on disk with its sha256. Loads no torch.
"""

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tabtune_core.errors import CheckpointError
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard, Weights
from tabtune_core.models.catalogue import WEIGHTS, named_checkpoint


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights of a run came from."""

    model: str
    file: str
    """File name."""
    repository: str | None
    """Hugging Face repository, None for a file in the package or on the person's disk."""
    revision: str | None
    """Commit of the repository, where it is known."""
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def find_checkpoint(card: ModelCard, task: Task, path: str | Path | None = None) -> tuple[Path, Source]:
    """The weights file: the named path, the package's own, the Hugging Face cache, or a download with a progress bar.

    Raises:
        CheckpointError: which file, from where, and where to put it; or that its hash is not the published one.
    """
    weights = card.weights_for(task)
    repository = revision = None
    if path is not None:
        file = named_checkpoint(card, task, path)
    elif weights.repository is None:
        file = WEIGHTS / weights.file
        if not file.is_file():
            raise CheckpointError(
                f"{card.title} ships as {file}, but the file is not there: the installation is damaged. Install the package again."
            )
    else:
        repository = weights.repository
        file = _from_hub(card, weights)
        revision = file.parent.name if file.parent.parent.name == "snapshots" else None
    digest = sha256_of(file)
    expected = None if path is not None else weights.sha256 or _published_sha256(file)
    if expected not in (None, digest):
        raise CheckpointError(
            f"{file} has the SHA-256 {digest}, but {card.title} has {expected}: the file is damaged or another one. "
            f"Delete it and try again."
        )
    return file, Source(card.name, file.name, repository, revision, digest)


def _published_sha256(cached: Path) -> str | None:
    """The Hugging Face cache keeps a large file under its published SHA-256, to which the snapshot's name is a link."""
    name = cached.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def is_here(weights: Weights) -> bool:
    """Whether weights can be had without a download."""
    from huggingface_hub import try_to_load_from_cache

    repository = weights.repository
    return repository is None or all(isinstance(try_to_load_from_cache(repository, file), str) for file in weights.files)


def _from_hub(card: ModelCard, weights: Weights) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    assert weights.repository is not None
    cached = is_here(weights)
    try:
        files = [Path(hf_hub_download(weights.repository, file, local_files_only=cached)) for file in weights.files]
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise CheckpointError(
            f"{card.title} needs the file {' and beside it '.join(weights.files)} from huggingface.co/{weights.repository}; it is not in "
            f"the Hugging Face cache and could not be downloaded ({type(error).__name__}). On a machine with internet run "
            f"`hf download {weights.repository} {' '.join(weights.files)}` and copy it here, then name its path as the checkpoint; "
            f"or choose TabICL mini, which ships with the package."
        ) from error
    return files[0]


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""The base model's weights on their way to a node: those that a person named, and released ones that the node's cache lacks.

In: a run's settings. Out: files with their names on the node, where the run finds them as it would here. Loads no torch.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tabtune_core.models.catalogue import ELSEWHERE, get_card, named_checkpoint
from tabtune_core.models.checkpoints import identities_of, is_here
from tabtune_core.settings import REFERENCES, RunSettings


@dataclass(frozen=True, slots=True)
class Carried:
    """Weights that a node may lack, by their names below its folder."""

    files: dict[str, Path] = field(default_factory=dict)
    """Where each lies on the worker's machine."""
    named: str = ""
    """Of them, what a person named; empty where they are a release."""
    repository: str = ""
    """Of a release, on Hugging Face."""
    revision: str = ""


def carried(settings: RunSettings) -> Carried:
    """What a run needs that does not come with the package; nothing where this machine has no copy: the node downloads it, as here.

    Raises:
        CheckpointError: the named file is not there.
        SettingError: the model is unknown, or does not do the task.
    """
    if settings.strategy in REFERENCES:
        return Carried()
    card = get_card(settings.model)
    weights = card.weights_for(settings.task)
    if settings.checkpoint is not None:
        file = named_checkpoint(card, settings.task, settings.checkpoint)
        place = f"weights/{identities_of(file, weights.beside)[0]}"
        beside = (file.with_name(Path(name).name) for name in weights.beside)
        return Carried({f"{place}/{one.name}": one for one in (file, *beside) if one.is_file()}, f"{place}/{file.name}")
    if weights.repository is None or not is_here(weights):
        return Carried()
    from huggingface_hub import try_to_load_from_cache

    cached = {name: Path(str(try_to_load_from_cache(weights.repository, name))) for name in weights.files}
    folder = cached[weights.file]
    revision = next(above.name for above in folder.parents if above.parent.name == "snapshots")
    place = f"weights/{weights.repository}/{revision}"
    return Carried({f"{place}/{name}": path for name, path in cached.items()}, "", weights.repository, revision)


def lacks_release(settings: RunSettings) -> bool:
    """Whether this machine would have to download a run's weights."""
    return not is_here(get_card(settings.model).weights_for(settings.task))


def lay_out(home: Path, what: Carried) -> None:
    """On the node: what has arrived is where the run will look for it."""
    if what.named:
        os.environ[ELSEWHERE] = str(home / what.named)
    arrived = home / "weights" / what.repository / what.revision
    if not what.repository or not arrived.is_dir():
        return
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    # https://huggingface.co/docs/huggingface_hub/guides/manage-cache: a branch's commit, and a commit's files
    cache = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=what.repository, repo_type="model")
    for name in what.files:
        file = cache / "snapshots" / what.revision / Path(name).relative_to(f"weights/{what.repository}/{what.revision}")
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() and (home / name).is_file():
            shutil.move(home / name, file)
    (cache / "refs").mkdir(exist_ok=True)
    (cache / "refs" / "main").write_text(what.revision)

"""A cluster node's copy of files from a workspace on another machine: tables and weights, named by their content.

In: pieces of files. Out: files that exist whole or not at all, and pieces of the files that a run leaves. Tables and
weights stay for later runs of the node; the next run on the machine deletes the folder of a node that has left.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tabtune_core.models.catalogue import ELSEWHERE, get_card, named_checkpoint
from tabtune_core.models.checkpoints import identity_of, is_here
from tabtune_core.settings import REFERENCES, RunSettings

PIECE_BYTES = 8_000_000
"""Bytes sent in one call; they are held in memory on both sides."""
ARRIVING = "arriving"
"""How the name of an incomplete file or folder ends."""
Sizes = dict[str, int]
"""Bytes of files by their paths below a folder."""


def pieces(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the pieces of a file, each with its offset; an empty file has one piece."""
    for offset in range(0, file.stat().st_size or 1, PIECE_BYTES):
        yield offset, piece(file, offset)


def piece(file: Path, offset: int) -> bytes:
    """Reads at most PIECE_BYTES of a file from an offset; empty at its end."""
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(PIECE_BYTES)


def take(file: Path, offset: int, content: bytes, size: int) -> None:
    """Adds a piece to a file of ``size`` bytes; the last piece moves the file to its place."""
    arriving = file.with_name(
        f"{file.name}.{os.getpid()}.{ARRIVING}"
    )  # two runs of a node may get the same table at the same time
    file.parent.mkdir(parents=True, exist_ok=True)
    with arriving.open("ab" if offset else "wb") as stream:
        assert stream.tell() == offset, f"{file.name}: {stream.tell()} bytes are there, {offset} were expected"
        stream.write(content)
    if offset + len(content) >= size:
        arriving.replace(file)


def drop_arriving(folder: Path) -> None:
    """Removes, as far as possible, files that will never be complete, because their node has left or their worker was
    killed.
    """
    for path in folder.glob(f"*{ARRIVING}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def sizes(folder: Path, *, without: Sequence[str] = ()) -> Sizes:
    """Returns the sizes of all files below a folder, except incomplete files and those in or named ``without``."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != f".{ARRIVING}")
    named = {path.relative_to(folder): path.stat().st_size for path in files}
    return {str(name): size for name, size in named.items() if name.parts[0] not in without}


def snapshot(states: Path, place: Path, last: str) -> Sizes:
    """Links the last state and the best states beside it into ``place``, where training does not replace them.

    Training keeps the best state that the last state names until a later last state exists. So the links belong
    together if the last state is still the same after they were made.
    """
    while True:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with suppress(FileNotFoundError):
            os.link(states / last, place / last)
            for best in states.glob("best-*.safetensors"):
                with suppress(FileNotFoundError):
                    os.link(best, place / best.name)
            if os.path.samefile(states / last, place / last):
                return sizes(place)
            continue
        return {}  # the states were deleted: the run has ended


@dataclass(frozen=True, slots=True)
class Carried:
    """Weights that a node may lack."""

    files: dict[str, Path] = field(default_factory=dict)
    """Paths on the worker's machine, by their names below the node's folder."""
    named: str = ""
    """Name of the checkpoint that a person named; empty for a released model."""
    repository: str = ""
    """Hugging Face repository of a released model."""
    revision: str = ""


def carried(settings: RunSettings) -> Carried:
    """Returns the weights of a run that are not part of the package; none if this machine has no copy: the node then
    downloads them.

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
        place = f"weights/{identity_of(file, weights.beside)}"
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
    """Puts the weights that have arrived on this node where the run will look for them."""
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
        file = (
            cache / "snapshots" / what.revision / Path(name).relative_to(f"weights/{what.repository}/{what.revision}")
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() and (home / name).is_file():
            shutil.move(home / name, file)
    (cache / "refs").mkdir(exist_ok=True)
    (cache / "refs" / "main").write_text(what.revision)

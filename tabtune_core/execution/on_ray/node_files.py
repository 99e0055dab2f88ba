"""What a node of a cluster holds of a workspace that lies on another machine: tables and weights under names that say what is in them.

In: pieces of files. Out: files that are there whole or not at all, and pieces of those that a run leaves. Tables and weights stay for later
runs of the node; a folder of a node that has left is swept up by the next run on the machine.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tabtune_core.models.catalogue import ELSEWHERE, get_card, named_checkpoint
from tabtune_core.models.checkpoints import identities_of, is_here
from tabtune_core.settings import REFERENCES, RunSettings

PIECE_BYTES = 8_000_000
"""That travel at once: they are held in memory on both sides."""
ARRIVING = "arriving"
"""How the name of a file or folder ends that is not there whole."""
Sizes = dict[str, int]
"""Bytes of files by their names, paths below a folder."""


def missing(folder: Path, names: Sequence[str]) -> list[str]:
    """The names for which a folder has no file."""
    return [name for name in names if not (folder / name).is_file()]


def pieces(file: Path) -> Iterator[tuple[int, bytes]]:
    """A file from its beginning, with the place of each piece; an empty file has one."""
    with file.open("rb") as stream:
        offset, content = 0, stream.read(PIECE_BYTES)
        while content or not offset:
            yield offset, content
            offset += len(content)
            if not (content := stream.read(PIECE_BYTES)):
                return


def piece(file: Path, offset: int) -> bytes:
    """What a file holds from a place on, PIECE_BYTES at most; nothing at its end."""
    with file.open("rb") as stream:
        stream.seek(offset)
        return stream.read(PIECE_BYTES)


def take(file: Path, offset: int, content: bytes, size: int) -> None:
    """Adds a piece to a file of ``size`` bytes, which is in its place with the last piece."""
    arriving = file.with_name(f"{file.name}.{os.getpid()}.{ARRIVING}")  # two runs of a node may be sent the same table at once
    file.parent.mkdir(parents=True, exist_ok=True)
    with arriving.open("ab" if offset else "wb") as stream:
        assert stream.tell() == offset, f"{file.name}: {stream.tell()} bytes are there, {offset} were expected"
        stream.write(content)
    if offset + len(content) >= size:
        arriving.replace(file)


def drop_arriving(folder: Path) -> None:
    """Removes, as far as it can be removed, what is not there whole and will not be: its node has left, or its worker was killed."""
    for path in folder.glob(f"*{ARRIVING}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def sizes(folder: Path, *, without: Sequence[str] = ()) -> Sizes:
    """Of all files below a folder, but for those in or called ``without`` and those that are arriving."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != f".{ARRIVING}")
    named = {path.relative_to(folder): path.stat().st_size for path in files}
    return {str(name): size for name, size in named.items() if name.parts[0] not in without}


def snapshot(states: Path, place: Path, last: str) -> Sizes:
    """Links the last state and the best states beside it to a folder, where training does not replace them.

    The best state that a last state names is kept until a later last state is there, so that both belong together where the last state is
    the same after the links were made.
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
        return {}  # taken away: the run has ended


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

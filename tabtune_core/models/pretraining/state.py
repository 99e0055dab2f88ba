"""The state of a pre-training on disk: written atomically; a truncated or foreign file is refused.

A state file has a line with its format version and the SHA-256 of the rest, which is written by ``torch.save``. Beside
it are the averaged weights, and a JSON file of the same name with their progress: a milestone from which training can
continue on any machine.
"""

import fcntl
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tabtune_core.errors import CheckpointError
from tabtune_core.files.whole import lasting, write_text
from tabtune_core.models.checkpoints import sha256_of

CODE = ("episodes.py", "families.py", "loop.py", "prior.py")
FORM = b"pretraining-state 1 "
STATE, LOCK = "state.pt", "lock"


@dataclass(slots=True, kw_only=True)
class Progress:
    """Settings and progress of a training: all that its next step depends on, except tensors."""

    family: str
    config: dict[str, Any]
    """Architecture."""
    seed: int
    rate: float
    """Peak learning rate."""
    code: str
    """Hash of the code that draws tables and trains, and of the versions of the packages that it uses."""
    growth: int
    """Steps in which tables grow from small ones to their full size."""
    rows: list[int] | None = None
    """Fewest and most rows of full-size tables; None: those of the recipe."""
    started_from: str | None = None
    """SHA-256 of the initial weights."""
    fresh: int = 0
    """Step at which the optimizers started; the warm-up begins there."""
    decay_from: int | None = None
    """Step at which a decay starts; None: the rate is constant."""
    decay_steps: int = 0
    """Steps over which the rate falls from ``decay_from`` on."""
    step: int = 0
    tables: int = 0
    seconds: float = 0.0
    """CPU time so far, of all its processes."""
    losses: list[float] = field(default_factory=list)
    """Losses of the last steps."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per evaluation on the held-out tables: the learning curve."""

    @property
    def hours(self) -> float:
        """CPU hours so far."""
        return self.seconds / 3600


def code_now() -> str:
    """Returns a hash that changes with anything that may change a training step."""
    parts = [(Path(__file__).parent / name).read_text(encoding="utf-8") for name in CODE]
    parts += [version(name) for name in ("torch", "numpy", "tabicl")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@contextmanager
def one_training(folder: Path) -> Iterator[None]:
    """Locks the folder for one process.

    Raises:
        CheckpointError: another process trains in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"Another process trains in {folder}. Wait for it, end it, or name another folder."
            ) from None
        yield


def write_state(folder: Path, progress: Progress, tensors: Mapping[str, Any]) -> None:
    """Writes the state to a temporary file, flushes it to the disk, then replaces the previous state.

    Raises:
        OSError: for example the disk is full; the previous state is kept.
    """
    content = io.BytesIO()
    torch.save({"progress": asdict(progress), **tensors}, content)
    data = content.getvalue()
    with lasting(folder / STATE) as stream:
        stream.write(FORM + hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def read_state(folder: Path) -> tuple[Progress, dict[str, Any]]:
    """Reads what ``write_state`` wrote.

    Raises:
        CheckpointError: the file was truncated or changed, or has another format.
    """
    path = folder / STATE
    header, _, data = path.read_bytes().partition(b"\n")
    way_out = (
        f"Take it away to start anew, from the averaged weights in the same folder with --start if you like: {folder}."
    )
    if not header.startswith(FORM):
        raise CheckpointError(f"{path} is not a state of this version's pre-training. {way_out}")
    if header.removeprefix(FORM).decode(errors="replace") != hashlib.sha256(data).hexdigest():
        raise CheckpointError(f"{path} is damaged: its content is not what was written. {way_out}")
    tensors = torch.load(io.BytesIO(data), weights_only=True)
    return _progress(tensors.pop("progress"), path), tensors


def _progress(told: Mapping[str, Any], path: Path) -> Progress:
    try:
        return Progress(**told)
    except TypeError as error:
        raise CheckpointError(
            f"{path} was written by another version of the pre-training, which this one cannot read: {error}."
        ) from None


def check_same(progress: Progress, asked: Mapping[str, Any], folder: Path) -> None:
    """Refuses to resume with settings other than those of the state.

    Raises:
        CheckpointError: naming the difference.
    """
    for name, value in asked.items():
        if value is not None and value != (begun := getattr(progress, name)):
            if isinstance(value, dict):
                begun, value = (
                    {key: one.get(key) for key in {**begun, **value} if begun.get(key) != value.get(key)}
                    for one in (begun, value)
                )
            raise CheckpointError(
                f"The training in {folder} has the {name} {begun}, and {value} was asked for. Leave it out, or name "
                "another folder."
            )


def milestone_json(weights: Path) -> Path:
    """Returns the path of the JSON file about weights."""
    return weights.with_name(f"{weights.name.split('.')[0]}.json")


def write_milestone(weights: Path, save: Any, progress: Progress) -> None:
    """Writes the averaged weights by ``save(path)``, then a JSON file with their SHA-256 and the progress."""
    partial = weights.with_name(f"partial-{weights.name}")
    try:
        save(partial)
        if partial.is_dir():
            shutil.rmtree(weights, ignore_errors=True)
        partial.replace(weights)
    finally:  # removes a partial file if the disk is full
        shutil.rmtree(partial, ignore_errors=True) if partial.is_dir() else partial.unlink(missing_ok=True)
    text = json.dumps({"sha256": sha256_of(weights_file(weights)), **asdict(progress)}, indent=1)
    write_text(milestone_json(weights), text + "\n")


def weights_file(path: Path) -> Path:
    """Returns the file of weights, which for some models is in a folder."""
    return path / "model.safetensors" if path.is_dir() else path


def read_milestone(weights: Path) -> Progress | None:
    """Reads the progress of weights; None if they have no JSON file.

    Raises:
        CheckpointError: the JSON file was written for other weights.
    """
    path = milestone_json(weights)
    if not path.is_file():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    if (digest := sha256_of(weights_file(weights))) != told.pop("sha256"):
        raise CheckpointError(
            f"{weights} has the SHA-256 {digest}, and {path} describes other weights: one of them was truncated or "
            "copied alone."
        )
    return _progress(told, path)

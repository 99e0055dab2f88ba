"""TabTune's own virtual environment, made once, and processes in it that take turns with ours.

In: a folder. Out: its Python with TabTune in it; ``TabTuneSteps`` does one training step of TabTune each time that it is asked.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

TABTUNE = "tabtune==0.2.1"
SCRIPT = Path(__file__).with_name("tabtune_peer.py")


def tabtune_python(folder: Path) -> Path:
    """The Python of an environment with TabTune and all that it asks for (3 GB); made if the folder has none.

    Its torch should be the one that we run, so it is asked for by version.

    Raises:
        subprocess.CalledProcessError: pip could not install it.
    """
    python, done = folder / "bin" / "python", folder / "tabtune-installed"
    if not done.exists():
        import torch

        venv.create(folder, with_pip=True)
        print(f"Installing {TABTUNE} into {folder}", file=sys.stderr)
        version = torch.__version__.partition("+")[0]
        command = [str(python), "-m", "pip", "install", "--quiet", TABTUNE, f"torch=={version}"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        done.write_text(TABTUNE + "\n")
    return python


def clean_environment(threads: int) -> dict[str, str]:
    """Of a process whose code is not ours and which uses so many threads."""
    numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    # with compiled code kept, as it is where a person has installed it
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    # nothing can or should be downloaded while time is taken, nor told to anyone
    return {**kept, **numbers, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def save_episode(path: Path, x_TF: NDArray[Any], y_C: NDArray[Any], y_Q: NDArray[Any], classes: int) -> Path:
    """An episode as ``tabtune_peer.py step`` reads it; context rows first, class ids without a gap."""
    np.savez(path, x_TF=x_TF, y_C=y_C, y_Q=y_Q, classes=classes)
    return path


class TabTuneSteps:
    """A process of TabTune with a model on it and one episode, which does a step when asked and else waits.

    Args:
        python: of the environment.
        model: TabICL (version 1), TabICLv2, TabDPT (1.1) or Mitra.
        checkpoint: file, or folder for Mitra.
        episode: as ``save_episode`` writes it.
        rank: 0 is full fine-tuning.
        learning_rate: of its Adam.
        threads: of torch.
    """

    def __init__(
        self, python: Path, model: str, checkpoint: Path, episode: Path, *, rank: int, learning_rate: float = 2e-4, threads: int = 1
    ) -> None:
        told = {
            "model": model,
            "checkpoint": checkpoint.absolute(),
            "episode": episode.absolute(),
            "rank": rank,
            "learning-rate": learning_rate,
            "threads": threads,
        }
        command = [str(python), str(SCRIPT), "step", *(text for name, value in told.items() for text in (f"--{name}", str(value)))]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(threads),
            stderr=None if os.environ.get("PEER_LOG") else subprocess.DEVNULL,
        )
        self.facts = self._answer()
        """Trainable and total parameters, adapted layers."""

    def step(self) -> dict[str, Any]:
        """Does one step: ``cpu_seconds``, ``wall_seconds``, ``loss``, ``trainable_parameters`` and more."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"TabTune's process ended with {self._process.wait()}; with PEER_LOG=1 its messages are shown.")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("skipped"):
            raise RuntimeError("TabTune leaves this episode out: a query row has a class that the context lacks.")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

"""TabTune 0.2.1 in its own environment: its training step, one at a time, and its leaderboard. Does not import the
product.

``PEER/bin/python tests/benchmarks/tabtune_peer.py step --model TabICLv2 --checkpoint FILE --episode EPISODE.npz --rank
8`` answers every line on stdin with one training step and a line of JSON; ``leaderboard`` runs its
``TabularLeaderboard`` on a split. ``tabtune_python`` creates the environment, and ``TabTuneSteps`` is such a process
for benchmarks that alternate with it.

The training code is TabTune's own: ``TuningManager._finetune_tabicl`` or ``_finetune_mitra`` (its "meta-learning" mode,
the default), with its own LoRA injection, alpha 16 and dropout 0.05, and its own Adam without clipping. Only these
parts are replaced from outside:

- ``Adam``, by a subclass that waits for a line before ``zero_grad`` and answers after ``step``; the time between is
  measured;
- the randomly drawn episodes, by the given one, with its rows in order;
- ``CrossEntropyLoss``, by a subclass that remembers its last value;
- the constructor of TabICL, by one that drops settings of newer checkpoints which TabTune's copy does not know
  (``zero_init``, which concerns only the start of pre-training). The weights must still fit.

Local weights need no patch: TabICL's ``model_path`` and a folder for Mitra are options of its models. Its registry
refuses the strategy "peft" for TabICL v2, but ``finetune_method="peft"``, which its TuningManager reads, enables it.
"""

import argparse
import importlib
import inspect
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

TABTUNE = "tabtune==0.2.1"
DEVICE = "cpu"
NEVER_ENDING = 10**9
TABICL = "TabICLv2"
RATE, FULL_RATE = 2e-4, 2e-5
"""Learning rates of LoRA and of full fine-tuning."""


class Turns:
    """One training step for every line on stdin."""

    def __init__(self, answers: Any) -> None:
        self.answers, self.open, self.facts, self.loss = answers, False, {}, None
        self.cpu = self.wall = 0.0

    def tell(self, **facts: Any) -> None:
        self.answers.write(json.dumps(facts) + "\n")
        self.answers.flush()

    def begin(self) -> None:
        """Waits for a line, and ends the process when there are no more."""
        if self.open:  # its loop skipped the episode, as it does if a query row has a class that the context lacks
            self.tell(skipped=True)
        if not sys.stdin.readline():
            sys.exit(0)
        self.open, self.cpu, self.wall = True, time.process_time(), time.perf_counter()

    def end(self) -> None:
        seconds = {"cpu_seconds": time.process_time() - self.cpu, "wall_seconds": time.perf_counter() - self.wall}
        self.open = False
        self.tell(**seconds, loss=float(self.loss), **self.facts)


def take_turns(turns: Turns) -> None:
    """Replaces the optimizer and the loss that TabTune's loops use by subclasses that report."""
    import torch
    from tabtune.TuningManager import tuning
    from tabtune.TuningManager.peft_utils import LoRALinear

    class Adam(torch.optim.Adam):
        def __init__(self, params: Any, **named: Any) -> None:
            held = list(params)
            turns.facts = {
                "trainable_parameters": sum(p.numel() for p in held if p.requires_grad),
                "total_parameters": sum(p.numel() for p in held),
                "adapted_layers": adapted[0],
            }
            if not adapted[0]:  # if its injection fails, TabTune continues with full fine-tuning
                raise SystemExit("TabTune adapted no layer.")
            super().__init__(held, **named)
            turns.tell(ready=True, **turns.facts)

        def zero_grad(self, *args: Any, **named: Any) -> None:
            turns.begin()
            super().zero_grad(*args, **named)

        def step(self, *args: Any, **named: Any) -> Any:
            done = super().step(*args, **named)
            turns.end()
            return done

    class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
        def forward(self, *args: Any) -> Any:
            loss = super().forward(*args)
            turns.loss = loss.detach()
            return loss

    inject, adapted = tuning.apply_tabular_lora, [0]

    def counted(*args: Any) -> Any:
        module = inject(*args)
        adapted[0] = sum(isinstance(part, LoRALinear) for part in module.modules())
        return module

    tuning.apply_tabular_lora = counted
    tuning.Adam = torch.optim.Adam = Adam
    torch.nn.CrossEntropyLoss = CrossEntropyLoss


def classifier_code() -> Any:
    """The module with TabTune's ``TabICLClassifier`` of version 2, patched to open newer checkpoints."""
    code = importlib.import_module("tabtune.models.tabiclv2.sklearn.classifier")
    build = code.TabICL
    known = inspect.signature(build).parameters
    code.TabICL = lambda **config: build(**{name: value for name, value in config.items() if name in known})
    return code


def step(asked: argparse.Namespace, answers: Any) -> None:
    """Sets up TabTune's model and its loop, which then waits for lines."""
    import torch
    from tabtune.TuningManager import tuning

    torch.set_num_threads(1)
    torch.manual_seed(0)
    episode = np.load(asked.episode)
    x_TF, y_C, y_Q = (
        episode["x_TF"].astype(np.float32),
        episode["y_C"].astype(np.int64),
        episode["y_Q"].astype(np.int64),
    )
    y_T = np.concatenate([y_C, y_Q])
    take_turns(Turns(answers))
    params = {
        "device": DEVICE,
        "learning_rate": RATE,
        "show_progress": False,
        "epochs": NEVER_ENDING,
        "support_size": len(y_C),
        "query_size": len(y_Q),
        "n_episodes": 1000,
        "steps_per_epoch": 1000,
        "batch_size": 1,
    }
    peft = {"r": asked.rank}
    manager = tuning.TuningManager()
    if asked.model == TABICL:

        class OneEpisode(torch.utils.data.Dataset):
            def __init__(self, *args: Any, n_episodes: int, **named: Any) -> None:
                self.length = n_episodes

            def __len__(self) -> int:
                return self.length

            def __getitem__(self, index: int) -> tuple[Any, ...]:
                return torch.from_numpy(x_TF), torch.from_numpy(y_C), torch.from_numpy(y_Q)

        tuning.TabICLMetaDataset = OneEpisode
        model = classifier_code().TabICLClassifier(
            n_jobs=1, device=DEVICE, model_path=asked.checkpoint, allow_auto_download=False
        )
        manager._finetune_tabicl(model, x_TF, y_T, params=params, peft_config=peft)
    np.random.choice = lambda rows, size, replace: np.arange(size)
    model = tuning.Tab2D.from_pretrained(asked.checkpoint, device=DEVICE)
    manager._finetune_mitra(model, x_TF, y_T, params=params, peft_config=peft)


def leaderboard(asked: argparse.Namespace, answers: Any) -> None:
    """Runs zero-shot, full fine-tuning and LoRA at every rank in one ``TabularLeaderboard``, and scores them on the
    held-out rows.

    ``--rows`` is an npz with ``x`` and ``y`` and the row numbers ``train``, ``validation`` and ``test``. TabTune's test
    rows are our validation and test rows together, so that both predict the same rows. TabTune predicts them twice, for
    labels and for probabilities.
    """
    started = time.perf_counter()
    import pandas as pd
    import torch
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
    from tabtune.TabularLeaderboard import leaderboard as code

    torch.set_num_threads(asked.threads)
    classifier_code()
    imported = time.perf_counter() - started
    torch.manual_seed(asked.seed)
    rows = np.load(asked.rows)
    x, y = pd.DataFrame(rows["x"]).add_prefix("x"), pd.Series(rows["y"])
    parts = {name: rows[name] for name in ("train", "validation", "test")}
    shown = np.concatenate([parts["validation"], parts["test"]])
    x_train, x_test = (x.iloc[chosen].reset_index(drop=True) for chosen in (parts["train"], shown))
    y_train, y_test = (y.iloc[chosen].reset_index(drop=True) for chosen in (parts["train"], shown))

    predicted: list[Any] = []
    predict_proba = code.TabularPipeline.predict_proba

    def kept(pipeline: Any, *args: Any) -> Any:
        predicted.append(predict_proba(pipeline, *args))
        return predicted[-1]

    code.TabularPipeline.predict_proba = kept
    board = code.TabularLeaderboard(x_train, x_test, y_train, y_test)
    model = {
        "model_path": asked.checkpoint,
        "allow_auto_download": False,
        "n_estimators": asked.views,
        "device": DEVICE,
    }
    loop = {
        "device": DEVICE,
        "epochs": 1,
        "n_episodes": asked.steps,
        "support_size": asked.support,
        "query_size": asked.query,
        "show_progress": False,
    }
    full = {**loop, "learning_rate": FULL_RATE}
    lora = {**loop, "learning_rate": RATE, "finetune_method": "peft"}
    board.add_model(TABICL, "inference", dict(model), label="zero-shot")
    board.add_model(TABICL, "finetune", dict(model), full, "meta-learning", label="full fine-tuning")
    for rank in asked.ranks:
        board.add_model(
            TABICL,
            "finetune",
            dict(model),
            {**lora, "peft_config": {"r": rank}},
            "meta-learning",
            label=f"LoRA r={rank}",
        )
    board.run(display=False)
    failed = [f"{entry.label}: {entry.error}" for entry in board.entries if entry.error]
    if failed or len(predicted) != len(board.entries):
        raise SystemExit("TabTune's leaderboard failed: " + "; ".join(failed or ["a prediction is missing"]))

    def scores(p_NK: Any, chosen: Any) -> dict[str, float]:
        y_N, p_N = y_test.to_numpy()[chosen], np.asarray(p_NK)[chosen]
        area = roc_auc_score(y_N, p_N[:, 1]) if p_N.shape[1] == 2 else roc_auc_score(y_N, p_N, multi_class="ovr")
        found = {
            "log_loss": log_loss(y_N, p_N),
            "roc_auc": area,
            "accuracy": accuracy_score(y_N, np.unique(y_train)[p_N.argmax(axis=1)]),
        }
        return {name: float(value) for name, value in found.items()}

    cut = len(parts["validation"])
    entries = {
        entry.label: {
            "fit_seconds": entry.fit_seconds,
            "predict_seconds": entry.predict_seconds,
            "validation": scores(p_NK, slice(cut)),
            "test": scores(p_NK, slice(cut, None)),
        }
        for entry, p_NK in zip(board.entries, predicted, strict=True)
    }
    answers.write(json.dumps({"import_seconds": imported, "entries": entries}) + "\n")


def tabtune_python(folder: Path) -> Path:
    """The Python of an environment with TabTune and its dependencies (3 GB), created if ``folder`` has none.

    The environment gets the same version of torch as this one.

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
    """The environment of a peer's process with ``threads`` threads."""
    numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    # compiled code is kept, as in a usual installation
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    # no downloads and no telemetry while time is measured
    return {**kept, **numbers, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def save_episode(path: Path, x_TF: Any, y_C: Any, y_Q: Any, classes: int) -> Path:
    """An episode as ``step`` reads it; context rows first, class ids without a gap."""
    np.savez(path, x_TF=x_TF, y_C=y_C, y_Q=y_Q, classes=classes)
    return path


class TabTuneSteps:
    """A process of TabTune with a model and one episode, which waits and does a step when asked.

    Args:
        python: Python of TabTune's environment.
        model: TabICLv2 or Mitra.
        checkpoint: file, or folder for Mitra.
        episode: as ``save_episode`` writes it.
        rank: rank of its LoRA.
    """

    def __init__(self, python: Path, model: str, checkpoint: Path, episode: Path, *, rank: int) -> None:
        told = {"model": model, "checkpoint": checkpoint.absolute(), "episode": episode.absolute(), "rank": rank}
        command = [
            str(python),
            __file__,
            "step",
            *(text for name, value in told.items() for text in (f"--{name}", str(value))),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(1),
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
            raise RuntimeError(
                f"TabTune's process ended with {self._process.wait()}; with PEER_LOG=1 its messages are shown."
            )
        answer: dict[str, Any] = json.loads(line)
        if answer.get("skipped"):
            raise RuntimeError("TabTune leaves this episode out: a query row has a class that the context lacks.")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def main() -> None:
    """Runs a command: answers go to stdout, the output of TabTune and its packages to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("step")
    one.set_defaults(run=step)
    one.add_argument("--model", choices=[TABICL, "Mitra"], required=True)
    one.add_argument("--checkpoint", required=True)
    one.add_argument("--episode", required=True, help="npz with x_TF (context rows first), y_C and y_Q")
    one.add_argument("--rank", type=int, required=True)
    board = commands.add_parser("leaderboard")
    board.set_defaults(run=leaderboard)
    board.add_argument("--checkpoint", required=True)
    board.add_argument("--rows", required=True)
    board.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    board.add_argument("--steps", type=int, required=True)
    board.add_argument("--support", type=int, required=True, help="context rows of an episode")
    board.add_argument("--query", type=int, required=True, help="query rows of an episode")
    board.add_argument(
        "--views", type=int, default=1, help="its n_estimators, 8 by default: predictions of so many views are averaged"
    )
    board.add_argument("--seed", type=int, default=0)
    board.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked.run(asked, answers)
    answers.flush()


if __name__ == "__main__":
    main()

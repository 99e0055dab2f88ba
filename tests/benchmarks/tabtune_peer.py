"""TabTune 0.2.1 in its own environment: its leaderboard on our split. Does not import the product.

``tabtune_python`` creates the environment; ``PEER/bin/python tests/benchmarks/tabtune_peer.py`` runs in it. The training
code is TabTune's own: ``TuningManager._finetune_tabicl`` (its "meta-learning" mode, the default) with its own LoRA
injection, alpha 16, dropout 0.05, and its own Adam without clipping. One part is replaced from outside: the constructor
of TabICL drops settings of newer checkpoints that TabTune's copy does not know (``zero_init``, which concerns only the
start of pre-training). The weights must still fit. Its registry refuses the strategy "peft" for TabICL v2, but
``finetune_method="peft"``, which its TuningManager reads, enables it.
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
from typing import Any

import numpy as np

TABTUNE, TABICL, DEVICE = "tabtune==0.2.1", "TabICLv2", "cpu"
RATE, FULL_RATE = 2e-4, 2e-5
"""Learning rates of LoRA and of full fine-tuning."""


def admit_newer_checkpoints() -> None:
    """Makes TabTune's TabICL leave out settings that it does not know."""
    code = importlib.import_module("tabtune.models.tabiclv2.sklearn.classifier")
    build = code.TabICL
    known = inspect.signature(build).parameters
    code.TabICL = lambda **config: build(**{name: value for name, value in config.items() if name in known})


def leaderboard(asked: argparse.Namespace) -> dict[str, Any]:
    """Runs zero-shot, full fine-tuning and LoRA at every rank in one ``TabularLeaderboard``, and scores held-out rows.

    ``--rows`` is an npz with ``x`` and ``y`` and the row numbers ``train``, ``validation`` and ``test``. TabTune's test
    rows are our validation and test rows together. It predicts them twice, for labels and for probabilities.
    """
    started = time.perf_counter()
    import pandas as pd
    import torch
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
    from tabtune.TabularLeaderboard import leaderboard as code

    torch.set_num_threads(asked.threads)
    admit_newer_checkpoints()
    imported = time.perf_counter() - started
    torch.manual_seed(asked.seed)
    rows = np.load(asked.rows)
    x, y = pd.DataFrame(rows["x"]).add_prefix("x"), pd.Series(rows["y"])
    held_out = np.concatenate([rows["validation"], rows["test"]])
    x_train, x_test = (x.iloc[chosen].reset_index(drop=True) for chosen in (rows["train"], held_out))
    y_train, y_test = (y.iloc[chosen].reset_index(drop=True) for chosen in (rows["train"], held_out))

    predicted: list[Any] = []
    predict_proba = code.TabularPipeline.predict_proba

    def kept(pipeline: Any, *args: Any) -> Any:
        predicted.append(predict_proba(pipeline, *args))
        return predicted[-1]

    code.TabularPipeline.predict_proba = kept
    board = code.TabularLeaderboard(x_train, x_test, y_train, y_test)
    model = {"model_path": asked.checkpoint, "allow_auto_download": False, "n_estimators": asked.views}
    model |= {"device": DEVICE}
    loop = {"device": DEVICE, "epochs": 1, "n_episodes": asked.steps, "show_progress": False}
    loop |= {"support_size": asked.support, "query_size": asked.query}
    mode, lora = "meta-learning", {**loop, "learning_rate": RATE, "finetune_method": "peft"}
    board.add_model(TABICL, "inference", dict(model), label="zero-shot")
    full = {**loop, "learning_rate": FULL_RATE}
    board.add_model(TABICL, "finetune", dict(model), full, mode, label="full fine-tuning")
    for rank in asked.ranks:
        one = {**lora, "peft_config": {"r": rank}}
        board.add_model(TABICL, "finetune", dict(model), one, mode, label=f"LoRA r={rank}")
    board.run(display=False)
    failed = [f"{entry.label}: {entry.error}" for entry in board.entries if entry.error]
    if failed or len(predicted) != len(board.entries):
        raise SystemExit("TabTune's leaderboard failed: " + "; ".join(failed or ["a prediction is missing"]))

    def scores(p_NK: Any, chosen: Any) -> dict[str, float]:
        y_N, p_N = y_test.to_numpy()[chosen], np.asarray(p_NK)[chosen]
        labels_N = np.unique(y_train)[p_N.argmax(axis=1)]
        area, accuracy = roc_auc_score(y_N, p_N[:, 1]), accuracy_score(y_N, labels_N)
        return {"log_loss": float(log_loss(y_N, p_N)), "roc_auc": float(area), "accuracy": float(accuracy)}

    cut, entries = len(rows["validation"]), {}
    for entry, p_NK in zip(board.entries, predicted, strict=True):
        parts = {"validation": scores(p_NK, slice(cut)), "test": scores(p_NK, slice(cut, None))}
        entries[entry.label] = {"fit_seconds": entry.fit_seconds, "predict_seconds": entry.predict_seconds, **parts}
    return {"import_seconds": imported, "entries": entries}


def tabtune_python(folder: Path) -> Path:
    """The Python of an environment with TabTune, our version of torch and 3 GB of packages, created if missing.

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
    """The environment of a peer's process with ``threads`` threads, without downloads and telemetry."""
    numbers = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    # compiled code is kept, as in a usual installation
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    return {**kept, **numbers, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def main() -> None:
    """Prints a line of JSON; the output of TabTune and its packages goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    for name in ("steps", "support", "query"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name, usual in (("views", 1), ("seed", 0), ("threads", 1)):  # views: its n_estimators, 8 by default
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers.write(json.dumps(leaderboard(asked)) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()

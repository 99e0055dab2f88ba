"""TabTune 0.2.1 in its own environment: its training step, one at a time, and its leaderboard. Imports nothing of ours.

``PEER/bin/python tests/benchmarks/tabtune_peer.py step --model TabICLv2 --checkpoint FILE --episode EPISODE.npz --rank 8`` answers every line
on stdin with one training step, told as a line of JSON; ``leaderboard`` runs its ``TabularLeaderboard`` on a split; ``weights`` writes a
checkpoint of random weights of TabDPT 1.1, the only TabDPT that it can open. ``peers.py`` makes the environment and takes turns with this.

The training code that runs is TabTune's own and unchanged: ``TuningManager._finetune_tabicl``, ``_finetune_tabdpt`` or ``_finetune_mitra``
(its "meta-learning" mode, the default), with its own LoRA injection, alpha 16 and dropout 0.05, and its own Adam without clipping. From
outside we put in their place, and nothing else:

- ``Adam`` by a subclass that waits for a line before ``zero_grad`` and tells after ``step``: what lies between is timed;
- the episodes that it would draw at random by the one that is given, the rows in their order;
- ``CrossEntropyLoss`` by a subclass that remembers its last value;
- the constructor of TabICL by one that leaves out words of newer checkpoints which its copy does not know (``zero_init`` for version 2,
  which concerns the start of pre-training alone; the switches that version 2 brought for version 1). The weights must fit all the same.

Local weights need no patch: ``model_path`` of TabICL, ``model_weight_path`` of TabDPT and a folder for Mitra are options of its models. Its
registry refuses the strategy "peft" for TabICL v2; ``finetune_method="peft"``, which its TuningManager reads, gives it all the same.
"""

import argparse
import importlib
import inspect
import json
import os
import sys
import time
from typing import Any

DEVICE = "cpu"
NEVER_ENDING = 10**9
CLASSIFIERS = {"TabICL": "tabicl", "TabICLv2": "tabiclv2"}
"""A model by TabTune's name, and the folder of its code; TabICL is version 1 and 1.1."""
TABDPT_1_1 = {
    "env": {"device": DEVICE},
    "training": {"dropout": 0.0},
    "model": {"max_num_classes": 10, "nhead": 8, "emsize": 768, "nhid_factor": 2, "nlayers": 16, "max_num_features": 100},
}
"""The configuration of the released file: 76,866,827 parameters."""


class Turns:
    """One training step for every line on stdin."""

    def __init__(self, answers: Any) -> None:
        self.answers, self.open, self.facts, self.loss = answers, False, {}, None
        self.cpu = self.wall = 0.0

    def tell(self, **facts: Any) -> None:
        self.answers.write(json.dumps(facts) + "\n")
        self.answers.flush()

    def begin(self) -> None:
        """Waits for a line, and ends the process where there are no more."""
        if self.open:  # its loop left out an episode, which it does when a query row has a class that the context lacks
            self.tell(skipped=True)
        if not sys.stdin.readline():
            sys.exit(0)
        self.open, self.cpu, self.wall = True, time.process_time(), time.perf_counter()

    def end(self) -> None:
        seconds = {"cpu_seconds": time.process_time() - self.cpu, "wall_seconds": time.perf_counter() - self.wall}
        self.open = False
        self.tell(**seconds, loss=float(self.loss), **self.facts)


def take_turns(turns: Turns, rank: int) -> None:
    """Puts the optimizer and the loss that tell in the place of those that TabTune's loops look up."""
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
            if bool(adapted[0]) != bool(rank):  # it goes on with full fine-tuning where its injection fails
                raise SystemExit(f"TabTune adapted {adapted[0]} layers, and the rank asked for is {rank}.")
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


def classifier_code(model: str) -> Any:
    """The module with TabTune's ``TabICLClassifier``, made to open newer checkpoints."""
    code = importlib.import_module(f"tabtune.models.{CLASSIFIERS[model]}.sklearn.classifier")
    build = code.TabICL
    known = inspect.signature(build).parameters
    code.TabICL = lambda **config: build(**{name: value for name, value in config.items() if name in known})
    return code


def step(asked: argparse.Namespace, answers: Any) -> None:
    """Sets up TabTune's model and its loop, which then waits for lines."""
    import numpy as np
    import torch
    from tabtune.TuningManager import tuning

    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    episode = np.load(asked.episode)
    x_TF, y_C, y_Q = episode["x_TF"].astype(np.float32), episode["y_C"].astype(np.int64), episode["y_Q"].astype(np.int64)
    y_T = np.concatenate([y_C, y_Q])
    take_turns(Turns(answers), asked.rank)
    params = {
        "device": DEVICE,
        "learning_rate": asked.learning_rate,
        "show_progress": False,
        "epochs": NEVER_ENDING,
        "support_size": len(y_C),
        "query_size": len(y_Q),
        "n_episodes": 1000,
        "steps_per_epoch": 1000,
        "batch_size": 1,
    }
    peft = {"r": asked.rank} if asked.rank else None
    manager = tuning.TuningManager()
    if asked.model in CLASSIFIERS:

        class OneEpisode(torch.utils.data.Dataset):
            def __init__(self, *args: Any, n_episodes: int, **named: Any) -> None:
                self.length = n_episodes

            def __len__(self) -> int:
                return self.length

            def __getitem__(self, index: int) -> tuple[Any, ...]:
                return torch.from_numpy(x_TF), torch.from_numpy(y_C), torch.from_numpy(y_Q)

        tuning.TabICLMetaDataset = OneEpisode
        model = classifier_code(asked.model).TabICLClassifier(
            n_jobs=1, device=DEVICE, model_path=asked.checkpoint, allow_auto_download=False
        )
        manager._finetune_tabicl(model, x_TF, y_T, params=params, peft_config=peft)
    np.random.choice = lambda rows, size, replace: np.arange(size)
    if asked.model == "TabDPT":
        model = tuning.TabDPTClassifier(device=DEVICE, model_weight_path=asked.checkpoint)
        manager._finetune_tabdpt(model, x_TF, y_T, params=params, peft_config=peft)
    else:
        model = tuning.Tab2D.from_pretrained(asked.checkpoint, device=DEVICE)
        manager._finetune_mitra(model, x_TF, y_T, params=params, peft_config=peft)


def leaderboard(asked: argparse.Namespace, answers: Any) -> None:
    """Zero-shot, full fine-tuning and LoRA at every rank in one ``TabularLeaderboard``, scored here on the rows that were held out.

    ``--rows`` is an npz with ``x`` and ``y`` and the row numbers ``train``, ``validation`` and ``test``. TabTune's test rows are validation
    and test together, so that it predicts what we predict. It asks for labels and for probabilities: two predictions of the same rows.
    """
    started = time.perf_counter()
    import numpy as np
    import pandas as pd
    import torch
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
    from tabtune.TabularLeaderboard import leaderboard as code

    torch.set_num_threads(asked.threads)
    classifier_code(asked.model)
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
    model = {"model_path": asked.checkpoint, "allow_auto_download": False, "n_estimators": asked.views, "device": DEVICE}
    loop = {
        "device": DEVICE,
        "epochs": 1,
        "n_episodes": asked.steps,
        "support_size": asked.support,
        "query_size": asked.query,
        "show_progress": False,
    }
    full = {**loop, "learning_rate": asked.full_learning_rate}
    lora = {**loop, "learning_rate": asked.learning_rate, "finetune_method": "peft"}
    board.add_model(asked.model, "inference", dict(model), label="zero-shot")
    board.add_model(asked.model, "finetune", dict(model), full, "meta-learning", label="full fine-tuning")
    for rank in asked.ranks:
        board.add_model(asked.model, "finetune", dict(model), {**lora, "peft_config": {"r": rank}}, "meta-learning", label=f"LoRA r={rank}")
    board.run(display=False)
    failed = [f"{entry.label}: {entry.error}" for entry in board.entries if entry.error]
    if failed or len(predicted) != len(board.entries):
        raise SystemExit("TabTune's leaderboard failed: " + "; ".join(failed or ["a prediction is missing"]))

    def scores(p_NK: Any, chosen: Any) -> dict[str, float]:
        y_N, p_N = y_test.to_numpy()[chosen], np.asarray(p_NK)[chosen]
        area = roc_auc_score(y_N, p_N[:, 1]) if p_N.shape[1] == 2 else roc_auc_score(y_N, p_N, multi_class="ovr")
        found = {"log_loss": log_loss(y_N, p_N), "roc_auc": area, "accuracy": accuracy_score(y_N, np.unique(y_train)[p_N.argmax(axis=1)])}
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


def weights(asked: argparse.Namespace, answers: Any) -> None:
    """Random weights in the format of ``tabdpt1_1.safetensors``."""
    import torch
    from omegaconf import OmegaConf
    from safetensors.torch import save_file
    from tabtune.models.tabdpt.model import TabDPTModel

    torch.manual_seed(0)
    model = OmegaConf.create(TABDPT_1_1["model"])
    module = TabDPTModel(
        dropout=0.0,
        n_out=model.max_num_classes,
        nhead=model.nhead,
        nhid=model.emsize * model.nhid_factor,
        ninp=model.emsize,
        nlayers=model.nlayers,
        num_features=model.max_num_features,
        use_flash=False,
    )
    save_file({name: part.contiguous() for name, part in module.state_dict().items()}, asked.out, metadata={"cfg": json.dumps(TABDPT_1_1)})
    answers.write(json.dumps({"parameters": sum(p.numel() for p in module.parameters())}) + "\n")


def main() -> None:
    """Answers go to stdout; whatever TabTune and its packages print goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("step")
    one.set_defaults(run=step)
    one.add_argument("--model", choices=[*CLASSIFIERS, "TabDPT", "Mitra"], required=True)
    one.add_argument("--checkpoint", required=True)
    one.add_argument("--episode", required=True, help="npz with x_TF (context rows first), y_C and y_Q")
    one.add_argument("--rank", type=int, default=8, help="0 is full fine-tuning")
    one.add_argument("--learning-rate", type=float, default=2e-4)
    board = commands.add_parser("leaderboard")
    board.set_defaults(run=leaderboard)
    board.add_argument("--model", choices=list(CLASSIFIERS), default="TabICLv2")
    board.add_argument("--checkpoint", required=True)
    board.add_argument("--rows", required=True)
    board.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8, 16, 32])
    board.add_argument("--steps", type=int, required=True)
    board.add_argument("--support", type=int, required=True, help="context rows of an episode")
    board.add_argument("--query", type=int, required=True, help="query rows of an episode")
    board.add_argument("--learning-rate", type=float, default=2e-4)
    board.add_argument("--full-learning-rate", type=float, default=2e-5)
    board.add_argument("--views", type=int, default=1, help="its n_estimators, 8 by default: predictions of so many views are averaged")
    board.add_argument("--seed", type=int, default=0)
    for timed in (one, board):
        timed.add_argument("--threads", type=int, default=1)
    made = commands.add_parser("weights")
    made.set_defaults(run=weights)
    made.add_argument("out")
    asked = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked.run(asked, answers)
    answers.flush()


if __name__ == "__main__":
    main()

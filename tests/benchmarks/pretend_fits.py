"""Fits of every family and kind on the pretend GPU against those of the CPU: how far they differ, and what a step waits for and launches.

``PYTHONPATH=tests/fakes/pretend_card python tests/benchmarks/pretend_fits.py [tabicl-mini ...]`` prints a line each. It is about the code:
no time of it means anything. Dropout is 0, as a GPU draws other numbers than the CPU.
"""

import dataclasses
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
from fits import fitted, losses, scores  # noqa: E402

from tabtune_core.devices import gpu_module, resolve_device  # noqa: E402
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings  # noqa: E402

TRAIN = TrainSettings(steps=5, eval_every=4, context_rows=24, batch_size=16, learning_rate=1e-3)
KINDS = {
    "zero-shot": {"strategy": "inference"},
    "full": {"strategy": "base-ft"},
    "LoRA": {},
    "DoRA": {"lora": {"use_dora": True}},
    "rsLoRA, biases": {"lora": {"use_rslora": True, "bias": "lora_only"}},
    "PiSSA": {"lora": {"init_lora_weights": "pissa"}},
    "late layers": {"lora": {"targets": ("late_layers",)}},
    "recomputed": {"train": {"gradient_checkpointing": True}},
    "weighted classes": {"train": {"class_weights": "balanced"}},
    "episode set": {"train": {"episode_set": 2}},
    "other context": {"train": {"predict_context_rows": 20}},
    "three views": {"train": {"views": 3}},
}


def main() -> None:
    gpu = resolve_device("cuda:1")
    for model, task, (name, kind) in itertools.product(
        sys.argv[1:] or ("tabicl-mini", "tabdpt-mini", "mitra-mini"), ("classification", "regression"), KINDS.items()
    ):
        if (name, task) == ("weighted classes", "regression"):
            continue
        parts = {
            "lora": LoraSettings(rank=3, dropout=0.0, **kind.get("lora", {})),
            "train": dataclasses.replace(TRAIN, **kind.get("train", {})),
        }
        settings = RunSettings(dataset="-", target="y", model=model, task=task, strategy=kind.get("strategy", "peft"), **parts)
        marks: dict[int, tuple[int, int]] = {}

        def mark(events: list, marks: dict = marks) -> None:
            marks.setdefault(len(losses(events)), (gpu_module(gpu).waits(), gpu_module(gpu).launched(gpu)))

        with tempfile.TemporaryDirectory() as folder:
            told, result = fitted(settings, Path(folder) / "gpu", device=gpu, stop_request=mark)
            expected, same = fitted(settings, Path(folder) / "cpu")
        if isinstance(result, Exception) or isinstance(same, Exception):
            print(f"{model}, {task}, {name}: {result!r} {same!r}", flush=True)
            continue
        numbers = [
            np.array([*losses(events), *np.ravel(scores(events)), *end.test.values()]) for events, end in ((told, result), (expected, same))
        ]
        step = "" if 3 not in marks else "; a step waits {} times and launches {}".format(*np.subtract(marks[3], marks[2]))
        print(f"{model}, {task}, {name}: difference {np.abs(numbers[0] - numbers[1]).max():.1e}{step}", flush=True)


if __name__ == "__main__":
    main()

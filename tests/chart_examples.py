"""A small frame for each chart: what the columns are, and something to draw."""

import numpy as np
import pandas as pd

_RUNS = ("Zero-shot", "Full fine-tuning", "LoRA r=2", "LoRA r=8")


def _runs(labels: list[str]) -> pd.Categorical:
    return pd.Categorical(labels, categories=_RUNS)


def steps() -> pd.DataFrame:
    """One row per training step."""
    step = np.tile(np.arange(1, 21), 3)
    columns = {"run": _runs([label for label in _RUNS[1:] for _ in range(20)]), "step": step, "seconds": step * 0.25}
    rate = 2e-4 * (1 + np.cos(np.pi * step / 20)) / 2
    return pd.DataFrame(columns | {"loss": 0.7 * np.exp(-step / 15), "gradient_norm": 1 / step, "learning_rate": rate})


def scores() -> pd.DataFrame:
    """One row per evaluation on the validation rows; zero-shot has one."""
    step = np.concatenate([[0], np.tile(np.arange(0, 21, 5), 3)])
    runs = _runs(["Zero-shot", *[label for label in _RUNS[1:] for _ in range(5)]])
    accuracy = 0.8 + 0.005 * step
    of_rows = {"accuracy": accuracy, "log_loss": 1 - accuracy, "rmse": 54_321 * (1 - accuracy), "r2": accuracy - 0.9}
    return pd.DataFrame(
        {"run": runs, "step": step, "seconds": step * 0.25, "split": "validation", "best": True} | of_rows
    )


def memory() -> pd.DataFrame:
    """One row per sample of the meters; a meter that does not exist here is not a number."""
    second = np.tile(np.arange(10.0), 4)
    columns = {"run": _runs([label for label in _RUNS for _ in range(10)]), "step": second.astype(int)}
    columns |= {"seconds": second, "phase": "train", "grown_bytes": 1e7 * second, "resident_bytes": 4e8 + 1e7 * second}
    columns |= dict.fromkeys(("ceiling_bytes", "torch_allocated_bytes", "power_watts", "temperature_celsius"), np.nan)
    return pd.DataFrame(columns | {"utilisation_percent": 90 + second})


def causes() -> pd.DataFrame:
    """One row per run and cause."""
    megabytes = {"weights": (110, 110), "adapter": (0, 3), "gradients": (110, 3)}
    megabytes |= {"optimizer": (220, 6), "activations": (480, 520)}
    return pd.DataFrame(
        {"run": run, "cause": cause, "bytes": 1e6 * numbers[i]}
        for i, run in enumerate(("Full fine-tuning", "LoRA r=8"))
        for cause, numbers in megabytes.items()
    )


def counts() -> pd.DataFrame:
    """One row per class."""
    return pd.DataFrame({"label": ["benign", "malignant"], "rows": [357, 212]})


def columns() -> pd.DataFrame:
    """One row per column: how much the error rises without it, with the adapter and of the base alone."""
    rises = {"lora": [0.3, 0.04, -0.002], "lora_half": [0.05, 0.02, 0.004], "base": [0.2, 0.03, 0.0], "base_half": 0.02}
    return pd.DataFrame({"name": ["mean radius", "texture <b>", "a" * 200]} | rises)


def bars() -> pd.DataFrame:
    """One row per stretch of the target's values."""
    return pd.DataFrame({"low": [0.0, 10.0, 20.0], "high": [10.0, 20.0, 30.0], "rows": [5, 12, 3]})


def ranked() -> pd.DataFrame:
    """One row per run with a result."""
    settings = {"run": _runs(list(_RUNS)), "strategy": ["inference", "base-ft", "peft", "peft"], "seed": 0}
    settings |= {"rank": [None, None, 2, 8], "alpha": [np.nan, np.nan, 4.0, 16.0]}
    settings |= {"dropout": [np.nan, np.nan, 0.05, 0.05], "learning_rate": [np.nan, 2e-5, 2e-4, 1e-4]}
    cost = {"growth_memory_bytes": [np.nan, 9e7, 5e7, 5.2e7], "run_growth_memory_bytes": [1e7, 9e7, 5e7, 5.2e7]}
    cost |= {"peak_memory_bytes": [4.1e8, 5e8, 4.5e8, 4.6e8], "train_seconds": [0.0, 12.0, 8.0, 8.5]}
    scores = {"validation_log_loss": [0.4, 0.3, 0.33, 0.31], "validation_accuracy": [0.8, 0.9, 0.88, 0.9]}
    scores |= {"validation_rmse": [54_321.0, 50_000.0, 51_000.0, 50_500.0], "validation_r2": [-0.1, 0.2, 0.1, 0.15]}
    more = {"adapter_bytes": [np.nan, np.nan, 2e4, 8e4], "lora_gap_half_width": [0.02, 0.01, 0.01, 0.0]}
    return pd.DataFrame(settings | cost | scores | more)


def _both_parts(loss: np.ndarray) -> dict[str, np.ndarray]:
    scores = {"log_loss": loss, "accuracy": 1 - loss, "rmse": 54_321 * loss, "r2": 0.5 - loss}
    return {f"{split}_{name}": values for split in ("validation", "test") for name, values in scores.items()}


def curve() -> pd.DataFrame:
    """One row per rank that is kept of one run."""
    return pd.DataFrame({"rank": [0, 1, 2, 4]} | _both_parts(np.array([0.4, 0.35, 0.31, 0.3])))


def pairs() -> pd.DataFrame:
    """One row per pair of classes of one run."""
    label, predicted = ["benign", "benign", "malignant", "malignant"], ["benign", "malignant"] * 2
    share = [69 / 72, 3 / 72, 2 / 42, 40 / 42]
    return pd.DataFrame({"label": label, "predicted": predicted, "rows": [69, 3, 2, 40], "share": share})


def bins() -> pd.DataFrame:
    """One row per bin of confidence of a run; one has no rows."""
    low = np.tile([0.7, 0.8, 0.9], 2)
    columns = {"run": _runs(["Zero-shot"] * 3 + ["LoRA r=8"] * 3), "low": low, "high": low + 0.1}
    columns |= {"rows": [10, 0, 90, 5, 15, 80], "confidence": [0.75, np.nan, 0.96, 0.72, 0.86, 0.97]}
    return pd.DataFrame(columns | {"accuracy": [0.6, np.nan, 0.97, 0.8, 0.8, 0.99]})


def errors() -> pd.DataFrame:
    """One row per held-out row of a run that predicts numbers."""
    label, error = np.tile([10.0, 20.0, 30.0], 2), np.array([1.0, -2.0, 0.5, 0.5, -1.0, 0.0])
    columns = {"run": _runs(["Zero-shot"] * 3 + ["LoRA r=8"] * 3), "row": np.tile([3, 5, 8], 2), "label": label}
    return pd.DataFrame(columns | {"predicted": label + error, "error": error})


EXAMPLES = {
    **dict.fromkeys(("loss", "gradient_norm", "seconds"), steps),
    **dict.fromkeys(("memory",), memory),
    **dict.fromkeys(("pareto", "rank_curve"), ranked),
    **{"score": scores, "memory_breakdown": causes, "class_counts": counts, "reliability_diagram": bins},
    **{"target_values": bars, "truncation": curve, "importance": columns},
    **{"predicted_true": errors, "confusion_matrix": pairs},
}
"""What makes the frame of a chart, by the chart's name."""

NUMBERS = ("log_loss", "accuracy", "rmse", "r2", "loss", "validation_log_loss", "grown_bytes")
"""Columns that hard input changes, in the frames that have them."""


def _last(frame):
    return frame["run"].astype(str) == str(frame["run"].iloc[-1])


def _changed(frame, change):
    return frame.assign(**{name: change(frame[name], _last(frame)) for name in NUMBERS if name in frame})


def _fifty(frame):
    trained = frame[_last(frame)]
    more = [trained.assign(run=f"LoRA r={1 + place} seed 0", rank=1.0 + place) for place in range(50)]
    return pd.concat([frame.assign(run=frame["run"].astype(str)), *more], ignore_index=True)


HARD = {
    "one run": lambda frame: frame[_last(frame)],
    "no trained run": lambda frame: frame[frame["run"].astype(str) == "Zero-shot"],
    "fifty runs": _fifty,
    "all equal": lambda frame: _changed(frame, lambda value, last: value * 0 + 0.25),
    "one a hundred times worse": lambda frame: _changed(frame, lambda value, last: value.mask(last, 100 * value)),
    "not a number": lambda frame: _changed(frame, lambda value, last: value.mask(last)),
    "infinite": lambda frame: _changed(frame, lambda value, last: value.mask(last, np.inf)),
    "names of 200 letters": lambda frame: frame.assign(run=frame["run"].astype(str) + "x" * 200),
    "negative": lambda frame: _changed(frame, lambda value, last: -value),
}
"""Makes hard input of an example's frame, by what is hard about it."""

"""The curves of one run, continued from the last event read and never longer than a chart needs; and the means of
several runs.

In: the store, read again and again. Out: frames of at most MOST rows (evaluations: all), however many events the run
emitted.

Longer curves are thinned. A kept step has the lowest or the highest loss among its neighbours, and the first and the
last step are always kept. A kept memory sample has the largest bytes of those that it replaces, and the mean of the
GPU's readings. Highest and lowest values are never lost.
"""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tabtune_core.events import MemorySampled
from tabtune_core.store.runs import RunStore

MOST = 4_000
"""Most rows kept of the steps or of the memory samples; when there are more, they are halved."""
STEP_COLUMNS = ["run", "step", "seconds", "loss", "gradient_norm", "learning_rate"]
SCORE_COLUMNS = ["run", "step", "seconds", "split", "best"]
METER_COLUMNS = [field.name for field in dataclasses.fields(MemorySampled) if field.name != "phase"]
GROWN = "grown_bytes"
"""What the run adds to the loaded model, on the ranking meter of its device; not a number while it loads."""
CEILING = "ceiling_bytes"
"""How much it could add: the total memory of its GPU less the loaded model; not a number on the CPU."""
MEMORY_COLUMNS = ["run", "step", "seconds", "phase", *METER_COLUMNS, GROWN, CEILING]
LOW, HIGH = "_low", "_high"
"""Suffixes of the columns that hold the lowest and the highest value beside a mean."""
BINS = 200
"""Number of bins along seconds, because the samples of different runs have different times."""
KINDS = {"steps": ("StepDone",), "scores": ("Evaluated",), "memory": ("MemorySampled", "PhaseDone")}
"""The events that each frame is made of."""

STARTS = ("RunPlanned", "Resumed")
"""Each of these means that a resumed run has withdrawn events, so it is read again from the start."""


class RunCurves:
    """The frames ``steps``, ``scores`` and ``memory`` of a run.

    Thread-safe; a frame that was returned is never modified.
    """

    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store, self._run_id, self._lock = store, run_id, threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self.status = ""
        """Status of the run at the last read."""
        self._last_step = 0
        self._starts: dict[str, int] = {}
        """By kind in STARTS, the number of the last event that was read."""
        self.seqs: dict[str, int] = {}
        """By other kind of event, the same."""
        columns = {"steps": STEP_COLUMNS, "scores": SCORE_COLUMNS, "memory": MEMORY_COLUMNS}
        self.frames = {name: as_frame([], names) for name, names in columns.items()}

    def version(self, frame: str) -> int:
        """Grows when a frame has changed."""
        return max(self.seqs.get(kind, 0) for kind in KINDS[frame])

    def read_on(self, status: str = "") -> "RunCurves":
        """Reads the events that the run, which has this ``status``, has emitted since the last call."""
        with self._lock:
            seqs = self._store.last_seqs(self._run_id, [*STARTS, *(kind for kinds in KINDS.values() for kind in kinds)])
            starts = {kind: seqs.pop(kind) for kind in STARTS}
            if starts != self._starts:
                self._begin()
                self._starts = starts
            times, steps = [-np.inf], [self._last_step]
            if rows := self._new(seqs, "StepDone"):
                times += [row["time"] for row in rows]
                steps += [row["step"] for row in rows]
                self._add("steps", as_frame(rows, STEP_COLUMNS), halve_steps)
            if rows := self._new(seqs, "Evaluated"):
                metrics = list(dict.fromkeys(name for row in rows for name in row["scores"]))
                self._add("scores", as_frame([row | row["scores"] for row in rows], [*SCORE_COLUMNS, *metrics]), None)
            self._last_step = steps[-1]
            if rows := self._new(seqs, "MemorySampled"):
                run, moments = self._store.run(self._run_id), np.array([row["time"] for row in rows])
                done = np.array(steps)[np.searchsorted(times, moments, side="right") - 1]
                frame = as_frame(rows, MEMORY_COLUMNS).assign(step=done, seconds=moments - (run.started or run.created))
                self._add("memory", frame, halve_samples)
            if rows or seqs["PhaseDone"] != self.seqs.get("PhaseDone", 0):
                self.frames["memory"] = grown(self.frames["memory"], self._store.fields([self._run_id], "PhaseDone"))
            self.seqs, self.status = seqs, status  # last, so that a partly read curve never counts as complete
        return self

    def _new(self, seqs: dict[str, int], kind: str) -> list[dict[str, Any]]:
        seen, last = self.seqs.get(kind, 0), seqs[kind]
        return [] if last == seen else self._store.fields([self._run_id], kind, after=seen, upto=last)

    def _add(self, name: str, rows: pd.DataFrame, halve: Callable[[pd.DataFrame], pd.DataFrame] | None) -> None:
        frame = pd.concat([self.frames[name], rows], ignore_index=True) if len(self.frames[name]) else rows
        while halve is not None and len(frame) > MOST and len(fewer := halve(frame)) < len(frame):
            frame = fewer
        self.frames[name] = frame


def halve_steps(steps: pd.DataFrame) -> pd.DataFrame:
    """Keeps the rows with the lowest and the highest loss of every four; NaN counts as the highest.

    Both ends are kept.
    """
    inner = (len(steps) - 2) // 4 * 4
    loss_G4 = np.nan_to_num(steps["loss"].to_numpy()[1 : 1 + inner], nan=np.inf).reshape(-1, 4)  # G groups
    first_G = 1 + 4 * np.arange(len(loss_G4))
    lowest_G, highest_G = first_G + loss_G4.argmin(axis=1), first_G + 3 - loss_G4[:, ::-1].argmax(axis=1)
    kept = np.unique(np.concatenate([[0], lowest_G, highest_G, np.arange(1 + inner, len(steps))]))
    return steps.iloc[kept].reset_index(drop=True)


def halve_samples(samples: pd.DataFrame) -> pd.DataFrame:
    """Merges neighbouring pairs of a phase: the earlier step and time, the most bytes, the mean of the readings.

    Keeps the last sample.
    """
    begins = (samples["phase"] != samples["phase"].shift()).to_numpy()
    starts = np.flatnonzero(begins)
    place = np.arange(len(samples)) - starts[np.cumsum(begins) - 1]  # position within the phase
    alone = begins | (place % 2 == 0)
    alone[-1] = True
    group = np.cumsum(alone) - 1
    how = {name: "max" if name.endswith("_bytes") else "mean" for name in (*METER_COLUMNS, GROWN, CEILING)}
    how |= dict.fromkeys(("run", "step", "seconds", "phase"), "first")
    joined = samples.groupby(group, sort=False).agg(how)
    return joined.reset_index(drop=True)[list(samples.columns)]


def grown(samples: pd.DataFrame, phases: list[dict[str, Any]]) -> pd.DataFrame:
    """Fills the columns GROWN and CEILING from the level at which the phase ``load`` ended."""
    levels = [(phase.get("base_bytes"), phase.get("device_bytes")) for phase in phases if phase["phase"] == "load"]
    base, total = (np.nan if level is None else float(level) for level in (levels or [(None, None)])[-1])
    meter = "torch_allocated_bytes" if np.isfinite(total) else "resident_bytes"
    added = (samples[meter] - base).clip(lower=0.0).where(samples["phase"] != "load")
    samples = samples.copy()
    samples[GROWN], samples[CEILING] = added, total - base
    return samples


def as_frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Builds a frame by column, which is faster than from dicts.

    A value that should be a number but is not becomes NaN.
    """
    frame = pd.DataFrame({name: [row.get(name) for row in rows] for name in columns}, columns=columns)
    for name in columns:
        if name in ("run", "phase", "split"):
            frame[name] = frame[name].astype("str")
        elif name != "best":
            numbers = pd.to_numeric(frame[name], errors="coerce")
            frame[name] = numbers if name == "step" and len(frame) else numbers.astype("float64")
    return frame


def group_means(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Averages runs that are drawn as one curve: at each place the mean, lowest and highest value of the runs that have
    reached it.

    ``frame`` has ``run``, a category that several runs may share, and numbers in any unit. ``by`` is the column that
    aligns their rows: ``step``, ``phase``, or ``seconds``, which are rounded to the nearest of BINS equal bins.

    Columns without numbers are left out; a column that only some runs have is the mean over those.
    """
    place = frame[by]
    if by == "seconds":
        width = float(place.max()) / BINS if len(place) and place.max() > 0 else 1.0
        place = (place / width).round()
    numbers = [name for name in frame.select_dtypes("number") if name != by]
    groups = frame.groupby([frame["run"], place.rename("place")], observed=True, sort=True)
    spread = groups[numbers]
    means = spread.mean().join(spread.min().add_suffix(LOW)).join(spread.max().add_suffix(HIGH))
    means[by] = groups[by].mean() if by == "seconds" else means.index.get_level_values("place")
    return means.reset_index().drop(columns="place").replace([np.inf, -np.inf], np.nan)

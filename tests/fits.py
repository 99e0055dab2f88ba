"""Fits of a small table in this process."""

import numpy as np
import torch
from small_table import small_table

from tabtune_core.data.arrays import Labels, prepare_arrays, read_labels, read_rows
from tabtune_core.errors import Cancelled
from tabtune_core.events import Evaluated, StepDone
from tabtune_core.training.fit import fit
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.plan import Plan
from tabtune_core.training.session import Environment

CPU = torch.device("cpu")


def fitted(settings, folder, *, device=CPU, stop_request=lambda events: None):
    """The events of a fit, and its result or error."""
    frame, words = small_table(80)
    y = words if settings.task == "classification" else np.random.default_rng(0).normal(size=80)
    y_N, rows = read_labels(y, 80), read_rows(frame)
    labels, events = Labels.of(y_N, settings.task), []
    folder.mkdir()
    try:
        with MemoryMeter(device, events.append) as meter:
            result = fit(
                Plan.of(settings, features=rows.shape[1], device=device),
                lambda: prepare_arrays(rows, y_N, labels, settings, max_classes=None),
                Environment(
                    meter=meter,
                    folder=folder,
                    emit=events.append,
                    stop_request=lambda: stop_request(events),
                    shared=folder.parent / f"shared {device.type}",
                ),
            ).result
    except (Cancelled, RuntimeError) as error:
        result = error
    return events, result


def losses(events):
    return [event.loss for event in events if isinstance(event, StepDone)]


def scores(events):
    return [list(event.scores.values()) for event in events if isinstance(event, Evaluated)]

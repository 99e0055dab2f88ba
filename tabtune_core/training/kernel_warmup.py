"""What torch does once, at the first use of its kernels and optimizers: code, threads and buffers that belong to no single run.

In: a model that has just been loaded. Out: nothing; the process is larger, and the model as it was.
Shape letters: C context rows, Q query rows, F features.
"""

import numpy as np
import torch
from torch import nn

from tabtune_core.devices import own_chance
from tabtune_core.models.base import BaseModel
from tabtune_core.training.episodes import Episode
from tabtune_core.training.optimizer import make_optimizer
from tabtune_core.training.step import episode_loss

CONTEXT, QUERY, FEATURES = 64, 16, 4
"""Of the table that is worked on: the kernels of a large one, at little cost."""
USED: set[tuple[str, str, int]] = set()
"""By model, task and how many tensors train: what this process's CPU has done once, and need not do again for every fit."""


def use_once(model: BaseModel, *, device: torch.device) -> None:
    """One prediction and, where something trains, one step that moves nothing; chance, flags and gradients stay as they are.

    On a GPU that is CUDA's start, which would count as the run's seconds, and the workspaces of cuBLAS, one for each of two threads, which
    would count as its memory.
    """
    trained = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    key = (model.card.name, model.task, len(trained))
    if device.type == "cpu" and key in USED:
        return
    classes = 2 if model.task == "classification" else 0
    x_TF = np.random.default_rng(0).normal(size=(CONTEXT + QUERY, FEATURES)).astype(np.float32)
    ids_T = np.arange(CONTEXT + QUERY) % 2
    y_T = ids_T if classes else ids_T.astype(np.float64)
    model.predict(x_TF[:CONTEXT], y_T[:CONTEXT], x_TF[CONTEXT:], classes)
    USED.add(key)
    if not trained:
        return
    was_training = model.module.training
    model.module.train()
    with own_chance(device):
        episode_loss(model, Episode(x_TF, y_T[:CONTEXT], y_T[CONTEXT:]), classes, device).backward()  # type: ignore[no-untyped-call]
    model.module.train(was_training)
    for parameter in trained:
        parameter.grad = None
    other = nn.Parameter(torch.zeros(2, device=device))
    other.grad = torch.ones_like(other)
    nn.utils.clip_grad_norm_([other], 1.0)
    make_optimizer([("other", other)], optimizer="adamw", learning_rate=0.0, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8).step()

"""Mitra through AutoGluon's module ``Tab2D``: upstream's class, checkpoint folder and normalisation, in fp32.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes, O outputs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tabtune_core.data.encoding import Target
from tabtune_core.errors import CheckpointError
from tabtune_core.files.damaged import Damaged, check_file, refused_as
from tabtune_core.files.plain_values import read_json
from tabtune_core.metrics import Task
from tabtune_core.models.base import Array, BaseModel, Encoded, averaged, cross_entropy
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.mitra.family import FAMILY
from tabtune_core.models.opened_weights import WAY_OUT, build, check_config, check_task, read_safetensors
from tabtune_core.models.stages import Stage, Stages, spread
from tabtune_core.scratch import scratch_folder
from tabtune_core.upstream import Source

try:
    from autogluon.tabular.models.mitra._internal.models.tab2d import Tab2D
except ImportError as error:
    raise FAMILY.missing_package() from error

LARGEST = 1e38
"""Largest number kept: the difference of two larger ones can overflow float32."""
LOWEST_BIN, HIGHEST_BIN = -0.5, 1.5
"""Range of a regressor's value bins, on the scale on which the context's numbers span 0 to 1."""


class MitraModel(BaseModel):
    """A Mitra classifier or regressor. ``module`` is the unchanged upstream ``Tab2D``."""

    def __init__(self, card: ModelCard, task: Task, source: Source, opened: Tab2D, device: torch.device) -> None:
        self.card, self.task, self.source, self.device = card, task, source, device
        self.module = opened.to(device).eval()
        self.outputs: int = opened.dim_output
        self.native_classes: int | None = self.outputs if task == "classification" else None
        self._edges = torch.linspace(LOWEST_BIN, HIGHEST_BIN, self.outputs + 1, device=device)

    def fit_preprocessing(self, x_CF: Encoded) -> Callable[[Encoded], Array]:
        """Fits AutoGluon's steps to the context: fill missing numbers with the mean, drop constant columns.

        Subtracting the median keeps the ranks, which are all that Mitra reads, of large columns that vary little.
        """
        mean_F = np.nanmean(np.where(np.isnan(x_CF).all(axis=0), 0.0, x_CF), axis=0)
        filled_CF = np.where(np.isnan(x_CF), mean_F, x_CF)
        varying_F = (filled_CF != filled_CF[0]).any(axis=0)
        kept_F = varying_F | ~varying_F.any()  # the module needs a column, even a constant one
        median_F = np.median(filled_CF, axis=0)

        def transform(x_NF: Encoded) -> Array:
            filled_NF = np.where(np.isnan(x_NF), mean_F, x_NF)
            read_NF: Array = np.clip(filled_NF - median_F, -LARGEST, LARGEST)[:, kept_F].astype(np.float32)
            return read_NF

        return transform

    def loss(self, x_BTF: Tensor, y_BC: Tensor, y_BQ: Tensor, classes: int, weight_BQ: Tensor | None = None) -> Tensor:
        """Computes cross-entropy (nats) over classes or value bins, or squared error for one output."""
        if not classes:
            low_B1, span_B1 = _range(y_BC)
            y_BC, y_BQ = self._labels(_scaled(y_BC, low_B1, span_B1)), self._labels(_scaled(y_BQ, low_B1, span_B1))
        outputs_BQO = outputs_of(self.module, x_BTF, y_BC)
        if self.outputs == 1:
            return averaged(F.mse_loss(outputs_BQO, y_BQ, reduction="none"), weight_BQ)
        return cross_entropy(outputs_BQO[..., : classes or None], y_BQ, weight_BQ)

    def predict(self, x_CF: Array, y_C: Target, x_QF: Array, classes: int) -> NDArray[np.float64]:
        """Predicts probabilities ``(Q, K)``, by softmax over the table's classes, or numbers ``(Q,)``."""
        x_BTF = torch.from_numpy(np.concatenate([x_CF, x_QF])[None]).to(self.device)
        y_BC = torch.from_numpy(y_C[None])
        with torch.no_grad():
            if classes:
                logits_QK = outputs_of(self.module, x_BTF, y_BC.to(self.device))[0, :, :classes].cpu().double()
                predicted = torch.softmax(logits_QK, dim=-1)
            else:
                low_B1, span_B1 = _range(y_BC)
                labels_BC = self._labels(_scaled(y_BC, low_B1, span_B1).float().to(self.device))
                outputs_QO = outputs_of(self.module, x_BTF, labels_BC)[0].cpu().double()
                predicted = low_B1[0] + span_B1[0] * self._decoded(outputs_QO)
        return np.asarray(predicted.numpy())

    def save(self, path: Path) -> None:
        """Writes a folder with ``config.json`` and ``model.safetensors``, which ``Tab2D.from_pretrained`` opens."""
        with scratch_folder(path.parent) as made:
            self.module.save_pretrained(str(made))
            if path.is_file():
                path.unlink()
            path.mkdir(exist_ok=True)
            for file in made.iterdir():
                file.replace(path / file.name)

    def _labels(self, scaled: Tensor) -> Tensor:
        """Returns scaled numbers as the module reads them: unchanged, or as ids of value bins."""
        return scaled if self.outputs == 1 else (torch.bucketize(scaled, self._edges) - 1).clamp(0, self.outputs - 1)

    def _decoded(self, outputs_QO: Tensor) -> Tensor:
        """Returns scaled numbers ``(Q,)``: the output, or the mean of its value bins, as the release was evaluated."""
        if self.outputs == 1:
            return outputs_QO
        return torch.softmax(outputs_QO, dim=-1) @ (self._edges[:-1] + self._edges[1:]).cpu().double() / 2


def outputs_of(module: nn.Module, x_BTF: Tensor, y_BC: Tensor) -> Tensor:
    """Returns outputs ``(B, Q, O)``, or ``(B, Q)`` if O is 1; unpadded, as upstream would attend to padding."""
    tables, rows, features = x_BTF.shape
    context = y_BC.shape[1]
    padding_F, padding_C, padding_Q = (
        torch.zeros(tables, length, dtype=torch.bool, device=x_BTF.device)
        for length in (features, context, rows - context)
    )
    # a copy of the context, as upstream writes into its arguments
    outputs_BQO: Tensor = module(x_BTF[:, :context].clone(), y_BC, x_BTF[:, context:], padding_F, padding_C, padding_Q)
    return outputs_BQO


def _range(y_BC: Tensor) -> tuple[Tensor, Tensor]:
    low_B1 = y_BC.amin(dim=1, keepdim=True)
    return low_B1, y_BC.amax(dim=1, keepdim=True) - low_B1


def _scaled(y_BN: Tensor, low_B1: Tensor, span_B1: Tensor) -> Tensor:
    """Scales the context's range to 0 to 1; if the context has a single value, everything becomes 0."""
    return ((y_BN - low_B1) / span_B1).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def read_checkpoint(path: Path, card: ModelCard, task: Task) -> Tab2D:
    """Opens ``model.safetensors`` with the ``config.json`` beside it; raises CheckpointError if they do not fit."""
    config = _read_config(path.with_name("config.json"))
    check_task(path.parent, config["task"].lower(), task)
    with refused_as(CheckpointError, f"{path} is damaged or not a Mitra checkpoint", WAY_OUT):
        tensors, _ = read_safetensors(path)
    # upstream's "cpu" means attention without flash-attn; it runs on GPUs too, and flash-attn does not support fp32
    how = {**config, "use_pretrained_weights": False, "path_to_weights": "", "device": "cpu"}
    return build(path, lambda: Tab2D(**how), tensors, "autogluon.tabular")


def _read_config(path: Path) -> dict[str, Any]:
    way_out = " A checkpoint is a folder with config.json and model.safetensors, as Tab2D.save_pretrained writes it."
    with refused_as(CheckpointError, f"{path} is missing or does not describe a Mitra model", way_out):
        check_file(path, most_bytes=1_000_000)
        content = read_json(path.read_bytes())
        if not isinstance(content, dict):
            raise Damaged(f"it holds {type(content).__name__} instead of entries by name")
        config = {key: content[key] for key in ("dim", "dim_output", "n_layers", "n_heads", "task")}
        check_config(config)
        if config["task"] not in ("CLASSIFICATION", "REGRESSION"):
            raise Damaged("its task is neither CLASSIFICATION nor REGRESSION")
        return config


MODEL = MitraModel


def stages(module: nn.Module) -> Stages:
    """Returns the stages: quantiles, embeddings, then layers over context and query side by side."""
    width = int(module.dim)  # type: ignore[arg-type]

    def layer(i: int) -> Stage:
        return Stage(
            path=f"layers.{i}",
            skip=lambda support, query, *_, **__: (support, query),
            keep=lambda output, *_, **__: list(output),
            give=lambda take, support, query, *_, **__: (take(*support.shape), take(*query.shape)),
        )

    return Stages(
        every=(
            Stage(path="x_quantile", skip=lambda support, query, *_: (support, query)),
            Stage(path="x_embedding", skip=lambda x: spread(x, *x.shape, width)),
            Stage(path="y_embedding"),
            *(layer(i) for i, _ in enumerate(module.get_submodule("layers").children())),
            *(Stage(path=path) for path in ("final_layer_norm", "final_layer")),
        )
    )

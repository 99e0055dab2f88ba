"""TabICL through its own package: the upstream class, checkpoint schema, normalisation and inference path.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes, L quantile
levels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from tabicl import InferenceConfig
from tabicl._model.attention import set_flash_attn3_enabled
from tabicl._model.tabicl import TabICL
from tabicl._sklearn.preprocessing import PreprocessingPipeline, UniqueFeatureFilter
from torch import Tensor, nn

from tabtune_core.data.encoding import Target
from tabtune_core.devices import on_device
from tabtune_core.errors import CheckpointError
from tabtune_core.files.damaged import refused_as
from tabtune_core.files.whole import in_one_move
from tabtune_core.metrics import Task
from tabtune_core.models.base import CACHE_BYTES, Array, BaseModel, Encoded, averaged, context_scale, cross_entropy
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.opened_weights import WAY_OUT, build, check_config, check_task, read_entries
from tabtune_core.models.stages import Stage, Stages, first_of
from tabtune_core.models.tabicl.lean_forward import lean, of_one_call
from tabtune_core.upstream import Source

TEMPERATURE = 0.9
"""Upstream's ``softmax_temperature``; the training loss uses it too, so that training matches prediction."""


class TabICLModel(BaseModel):
    """A TabICL classifier or regressor; upstream predicts more classes than ``native_classes`` with a tree of tasks."""

    def __init__(
        self, card: ModelCard, task: Task, source: Source, opened: tuple[TabICL, dict[str, Any]], device: torch.device
    ) -> None:
        self.card, self.task, self.source, self.device = card, task, source, device
        module, self.config = opened
        self.native_classes: int | None = int(self.config["max_classes"])
        self.module = module.to(device).eval()
        lean(self.module)
        set_flash_attn3_enabled(False)  # in training and recomputed blocks: if installed, it computes in fp16
        self._inference = InferenceConfig()
        # fp32: scores of runs are compared to 1e-6
        stage = {"device": device, "use_amp": False, "use_fa3": False, "verbose": False}
        self._inference.update_from_dict({name: dict(stage) for name in ("COL_CONFIG", "ROW_CONFIG", "ICL_CONFIG")})

    def fit_preprocessing(self, x_CF: Encoded) -> Callable[[Encoded], Array]:
        """Fits upstream's steps to the context: fill with the mean, drop constant columns, standardize, clip softly."""
        mean_F = np.nan_to_num(np.nanmean(np.where(np.isnan(x_CF).all(axis=0), 0.0, x_CF), axis=0))
        filled_CF = np.where(np.isnan(x_CF), mean_F, x_CF)
        varying = UniqueFeatureFilter().fit(filled_CF)
        scale = PreprocessingPipeline(normalization_method="none", outlier_threshold=4.0, random_state=0)
        scale.fit(varying.transform(filled_CF))

        def transform(x_NF: Encoded) -> Array:
            filled_NF = np.where(np.isnan(x_NF), mean_F, x_NF)
            normal_NF: Array = scale.transform(varying.transform(filled_NF)).astype(np.float32)
            return normal_NF

        return transform

    def loss(self, x_BTF: Tensor, y_BC: Tensor, y_BQ: Tensor, classes: int, weight_BQ: Tensor | None = None) -> Tensor:
        """Computes cross-entropy, or the pinball loss of the standardized target, as upstream's fine-tuning does."""
        mean_B1, scale_B1 = context_scale(y_BC) if not classes else (0.0, 1.0)
        outputs_BQO = self.module(x_BTF, y_BC.float() if classes else (y_BC - mean_B1) / scale_B1)
        if classes:
            return cross_entropy((outputs_BQO[..., :classes] / TEMPERATURE).float(), y_BQ, weight_BQ)
        quantiles_BQL = outputs_BQO.float()
        levels_L = torch.linspace(0, 1, quantiles_BQL.shape[-1] + 2, device=self.device)[1:-1]
        error_BQL = ((y_BQ - mean_B1) / scale_B1)[..., None] - quantiles_BQL
        loss_BQL = torch.maximum(levels_L * error_BQL, (levels_L - 1) * error_BQL)
        return loss_BQL.mean() if weight_BQ is None else averaged(loss_BQL.mean(dim=-1), weight_BQ)

    def predict(self, x_CF: Array, y_C: Target, x_QF: Array, classes: int) -> NDArray[np.float64]:
        """Predicts probabilities ``(Q, K)`` or means ``(Q,)``, splitting work by memory as upstream does."""
        x_BTF = self._tensor(np.concatenate([x_CF, x_QF]))
        y_BC, scaler = self._shown(y_C, classes)
        own = of_one_call(self.module)
        with torch.no_grad(), on_device(self.device):
            if scaler is not None:
                outputs = own.predict_stats(x_BTF, y_BC, "mean", inference_config=self._inference)
            else:
                softmax = {"return_logits": True, "softmax_temperature": TEMPERATURE}
                outputs = own(x_BTF, y_BC, **softmax, inference_config=self._inference)
        return _answers(outputs[0], scaler, classes)

    def read_context(self, x_CF: Array, y_C: Target, classes: int) -> Callable[[Array], NDArray[np.float64]]:
        """Uses upstream's cache if it fits ``CACHE_BYTES``: keys and values, or the in-context stage's input."""
        mode = self._cache_mode(len(x_CF), x_CF.shape[1])
        if mode is None or classes > (self.native_classes or classes):  # upstream's class tree has no cache
            return super().read_context(x_CF, y_C, classes)
        y_BC, scaler = self._shown(y_C, classes)
        softmax = {"softmax_temperature": TEMPERATURE} if scaler is None else {}
        with torch.no_grad(), on_device(self.device):
            reader = of_one_call(self.module)
            reader.forward_with_cache(self._tensor(x_CF), y_BC, cache_mode=mode, inference_config=self._inference)
        cache = reader._cache

        def predict(x_QF: Array) -> NDArray[np.float64]:
            own = of_one_call(self.module)
            ask = own.forward_with_cache if scaler is None else own.predict_stats_with_cache
            with torch.no_grad(), on_device(self.device):
                outputs_BQ = ask(X_test=self._tensor(x_QF), cache=cache, **softmax, inference_config=self._inference)
            return _answers(outputs_BQ[0], scaler, classes)

        return predict

    def _tensor(self, x_TF: Array) -> Tensor:
        return torch.from_numpy(x_TF[None]).to(self.device)

    def _shown(self, y_C: Target, classes: int) -> tuple[Tensor, StandardScaler | None]:
        """Returns labels as the module reads them, and the scaler of a numeric target."""
        scaler = None if classes else StandardScaler().fit(y_C[:, None])
        shown_C = y_C if scaler is None else scaler.transform(y_C[:, None])[:, 0]
        return torch.from_numpy(shown_C[None].astype(np.float32)).to(self.device), scaler

    def _cache_mode(self, context: int, features: int) -> Literal["kv", "repr"] | None:
        """Returns the fastest of upstream's cache modes that fits; None if none fits."""
        size = self.config
        deep, columns = size["embed_dim"] * size["row_num_cls"], features + size["row_num_cls"]
        number = torch.float32.itemsize
        of_columns = 2 * size["col_num_blocks"] * columns * size["col_num_inds"] * size["embed_dim"]
        if number * (of_columns + 2 * size["icl_num_blocks"] * context * deep) <= CACHE_BYTES:
            return "kv"
        return "repr" if number * (of_columns + context * deep) <= CACHE_BYTES else None

    def save(self, path: Path) -> None:
        """Writes ``{"config", "state_dict"}``, which ``tabicl.TabICLClassifier(model_path=...)`` opens."""
        with in_one_move(path) as partial, partial.open("wb") as stream:  # torch's own errors hide that a disk is full
            torch.save({"config": self.config, "state_dict": self.module.state_dict()}, stream)


def _answers(outputs: Tensor, scaler: StandardScaler | None, classes: int) -> NDArray[np.float64]:
    """Turns logits ``(Q, K)`` into probabilities, or standardized means ``(Q,)`` into numbers."""
    if scaler is not None:
        return np.asarray(scaler.inverse_transform(outputs.cpu().double().numpy()[:, None])[:, 0])
    probabilities_QK = torch.softmax(outputs.cpu().double() / TEMPERATURE, dim=-1).numpy()
    assert probabilities_QK.shape[1] == classes, "the context lacks a class"
    return np.asarray(probabilities_QK)


def read_checkpoint(path: Path, card: ModelCard, task: Task) -> tuple[TabICL, dict[str, Any]]:
    """Returns the upstream module of a file, and its configuration; raises CheckpointError if it does not fit."""
    with refused_as(CheckpointError, f"{path} is not a TabICL checkpoint", WAY_OUT):
        content = read_entries(path)
        config = content["config"]
        check_config(config)
    module = build(path, lambda: TabICL(**config), content["state_dict"], "tabicl")
    config = {"max_classes": 10, **config}  # upstream's default
    check_task(path, "classification" if config["max_classes"] else "regression", task)
    return module, config


MODEL = TabICLModel


def stages(module: nn.Module) -> Stages:
    """Returns the stages: columns, rows, then blocks; the first two outputs are copied, as upstream overwrites them."""
    columns, rows, in_context = map(module.get_submodule, ("col_embedder", "row_interactor", "icl_predictor"))
    cell, deep = int(columns.embed_dim), int(rows.embed_dim) * int(rows.num_cls)  # type: ignore[arg-type]

    blocks = list(in_context.get_submodule("tf_icl.blocks").children())

    def copied(output: Tensor, *_: Any, **__: Any) -> list[Tensor]:
        return [output.clone()]

    def block(i: int) -> Stage:
        """Makes the stage of a block; the last block computes outputs for the query rows only, see ``lean_forward``."""
        last = i == len(blocks) - 1

        def give(take: Any, q: Tensor, *, train_size: int | None = None, **_: Any) -> Tensor:
            kept: Tensor = take(*q.shape[:-2], q.shape[-2] - last * (train_size or 0), q.shape[-1])
            return kept

        path = f"icl_predictor.tf_icl.blocks.{i}"
        return Stage(path=path, skip=first_of, keep=lambda output, *_, **__: [output], give=give)

    embedded = Stage(
        path="col_embedder", skip=first_of, keep=copied, give=lambda take, x, *_, **__: take(*x.shape[:2], -1, cell)
    )
    joined = Stage(
        path="row_interactor",
        skip=lambda x, *_, **__: x.new_zeros(*x.shape[:2], deep),
        keep=copied,
        give=lambda take, x, *_, **__: take(*x.shape[:2], deep),
    )
    plain = ["y_encoder", *(name for name in ("ln", "decoder") if hasattr(in_context, name))]
    encoder, *after = (Stage(path=f"icl_predictor.{name}") for name in plain)
    every = (embedded, joined, encoder, *(block(i) for i, _ in enumerate(blocks)), *after)
    return Stages(every=every, entries=("forward", "_inference_forward"))

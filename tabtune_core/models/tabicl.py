"""TabICL through its own package: the upstream class, checkpoint schema, normalisation and inference path.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tabicl import InferenceConfig
from tabicl._model.tabicl import TabICL
from tabicl._sklearn.preprocessing import PreprocessingPipeline, UniqueFeatureFilter

from tabtune_core.errors import CheckpointError
from tabtune_core.models.adapter import Array, Encoded
from tabtune_core.models.catalogue import ModelCard
from tabtune_core.models.checkpoints import Source, find_checkpoint

TEMPERATURE = 0.9
"""Upstream's ``softmax_temperature``; used in the training loss too, so that training sees what prediction does."""


class TabICLModel:
    """A TabICL classifier. ``module`` is the upstream ``TabICL`` with nothing changed."""

    passed_over: tuple[str, ...] = ("ssmax_layer", "in_linear")
    block_lists: tuple[str, ...] = ("col_embedder.tf_col.blocks", "row_interactor.tf_row.blocks", "icl_predictor.tf_icl.blocks")

    def __init__(self, card: ModelCard, source: Source, module: TabICL, config: dict[str, Any], device: torch.device) -> None:
        self.card, self.source, self.config, self.device = card, source, config, device
        self.module = module.to(device).eval()
        self._inference = InferenceConfig()
        stage = {"device": device, "use_amp": False, "use_fa3": False, "verbose": False}  # fp32: scores of runs are compared to 1e-6
        self._inference.update_from_dict({name: dict(stage) for name in ("COL_CONFIG", "ROW_CONFIG", "ICL_CONFIG")})

    @classmethod
    def load(cls, card: ModelCard, device: torch.device, checkpoint: str | Path | None = None) -> "TabICLModel":
        """Opens a checkpoint.

        Raises:
            CheckpointError: the file is missing or does not hold a TabICL classifier.
        """
        path, source = find_checkpoint(card, checkpoint)
        content = read_torch_checkpoint(path)
        try:
            module = TabICL(**content["config"])
            module.load_state_dict(content["state_dict"])
        except (TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit the installed tabicl package: {str(error).splitlines()[0]}") from error
        if not content["config"].get("max_classes"):
            raise CheckpointError(f"{path} holds a regressor; {card.title} classifies. Name a classifier's checkpoint.")
        return cls(card, source, module, content["config"], device)

    def fit_preprocessing(self, x_CF: Encoded) -> Callable[[Encoded], Array]:
        """Upstream's steps, learnt from the context: mean for missing numbers, constant columns out, standard score, soft clip."""
        mean_F = np.nan_to_num(np.nanmean(np.where(np.isnan(x_CF).all(axis=0), 0.0, x_CF), axis=0))
        filled_CF = np.where(np.isnan(x_CF), mean_F, x_CF)
        varying = UniqueFeatureFilter().fit(filled_CF)
        scale = PreprocessingPipeline(normalization_method="none", outlier_threshold=4.0, random_state=0).fit(varying.transform(filled_CF))

        def transform(x_NF: Encoded) -> Array:
            filled_NF = np.where(np.isnan(x_NF), mean_F, x_NF)
            normal_NF: Array = scale.transform(varying.transform(filled_NF)).astype(np.float32)
            return normal_NF

        return transform

    def train_logits(self, x_BTF: torch.Tensor, y_BC: torch.Tensor, classes: int) -> torch.Tensor:
        """Logits ``(B, T - C, K)``; needs ``module.train()``, since upstream's other path keeps no graph."""
        logits_BQK: torch.Tensor = self.module(x_BTF, y_BC.float())
        return logits_BQK[..., :classes] / TEMPERATURE

    def predict_proba(self, x_CF: Array, y_C: NDArray[np.int64], x_QF: Array, classes: int) -> NDArray[np.float64]:
        """Probabilities ``(Q, K)`` through upstream's inference path, which splits work by the memory there is."""
        x_BTF = torch.from_numpy(np.concatenate([x_CF, x_QF])[None]).to(self.device)
        y_BC = torch.from_numpy(y_C[None].astype(np.float32)).to(self.device)
        with torch.no_grad():
            logits_QK = self.module(x_BTF, y_BC, return_logits=True, softmax_temperature=TEMPERATURE, inference_config=self._inference)[0]
        probabilities_QK = torch.softmax(logits_QK.double() / TEMPERATURE, dim=-1).cpu().numpy()
        assert probabilities_QK.shape[1] == classes, "the context lacks a class"
        return np.asarray(probabilities_QK)

    def save(self, path: Path) -> None:
        """Writes ``{"config", "state_dict"}``, which ``tabicl.TabICLClassifier(model_path=...)`` opens."""
        torch.save({"config": self.config, "state_dict": self.module.state_dict()}, path)


def read_torch_checkpoint(path: Path) -> dict[str, Any]:
    """A file with ``config`` and ``state_dict``, read without running any code in it.

    Raises:
        CheckpointError: for a file of another kind.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} is not a checkpoint that can be opened safely: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not {"config", "state_dict"} <= content.keys():
        raise CheckpointError(f"{path} is no TabICL checkpoint: it needs the entries 'config' and 'state_dict'.")
    return content

"""TabDPT through its own package: the upstream class, checkpoint schema and preprocessing, one file for both tasks.

The engine samples the context rows, so upstream's retrieval of neighbours is not needed.
Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes, O outputs
(class logits, then N bins of the target).
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tabdpt.model import TabDPTModel as Network
from tabdpt.model import TransformerEncoderLayer
from torch import Tensor, nn
from torch.nn import functional as F

from tabtune_core.data.encoding import Target
from tabtune_core.devices import own_chance
from tabtune_core.errors import CheckpointError
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.plain_values import read_json
from tabtune_core.files.whole import in_one_move
from tabtune_core.lora.attach import view_of_one
from tabtune_core.metrics import Task
from tabtune_core.models.base import Array, BaseModel, Encoded, cross_entropy
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.opened_weights import WAY_OUT, check_config, read_safetensors
from tabtune_core.models.stages import Instead, Stage, Stages, first_of, spread
from tabtune_core.upstream import Source

CPU = torch.device("cpu")
FARTHEST = 1e30
"""Largest standardized number kept: float32 holds it, and sums of its products with a projection."""


class ContextStatistics(Network):  # type: ignore[misc]
    """Upstream's module with feature statistics from the context alone, where ``training`` would add query rows."""

    def forward(self, *positional: Any, **named: Any) -> Tensor:
        """Calls upstream's forward."""
        predicting = view_of_one(self)
        predicting.training = False
        outputs: Tensor = Network.forward(predicting, *positional, **named)
        return outputs


class TabDPTModel(BaseModel):
    """A TabDPT for one task; ``module`` is upstream's as ``ContextStatistics``, with attention's scale on the CPU."""

    def __init__(
        self, card: ModelCard, task: Task, source: Source, opened: tuple[Network, str], device: torch.device
    ) -> None:
        self.card, self.task, self.source, self.device = card, task, source, device
        module, self.config = opened
        scale_on_cpu(module)
        self.module = module.to(device).eval()
        self.module.__class__ = ContextStatistics
        self.native_classes: int | None = None
        self._bin_width = (module.regression_bin_max - module.regression_bin_min) / module.regression_bin_count
        self._first_centre = module.regression_bin_min + self._bin_width / 2
        self._places_N = torch.arange(module.regression_bin_count, device=device, dtype=torch.float64)

    def fit_preprocessing(self, x_CF: Encoded) -> Callable[[Encoded], Array]:
        """Fits upstream's steps to the context: fill with the mean, standardize, PCA if there are too many features."""
        scale = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()).fit(x_CF)
        width, projection_FW = self.module.num_features, None
        if x_CF.shape[1] > width:
            normal_CF = torch.from_numpy(scale.transform(x_CF)).float()
            with own_chance(CPU, 0):
                projection_FW = torch.pca_lowrank(normal_CF, q=min(len(normal_CF), width))[2].numpy()

        def transform(x_NF: Encoded) -> Array:
            normal_NF: Array = np.clip(scale.transform(x_NF), -FARTHEST, FARTHEST).astype(np.float32)
            return normal_NF if projection_FW is None else normal_NF @ projection_FW

        return transform

    def loss(self, x_BTF: Tensor, y_BC: Tensor, y_BQ: Tensor, classes: int, weight_BQ: Tensor | None = None) -> Tensor:
        """Computes the mean cross-entropy (nats) over classes, or over bins of the target's z-score.

        A z-score is shared between the two nearest bin centres, so that the expectation can equal it.
        """
        if classes:
            return cross_entropy(self._class_scores(x_BTF, y_BC, classes), y_BQ, weight_BQ)
        mean_B1, deviation_B1 = standard(y_BC)
        logits_BQN = self._bin_logits(x_BTF, (y_BC - mean_B1) / deviation_B1)
        place_BQ = ((y_BQ - mean_B1) / deviation_B1 - self._first_centre) / self._bin_width
        distance_BQN = (place_BQ.clamp(0, len(self._places_N) - 1)[..., None] - self._places_N).abs()
        shares_BQN = (1 - distance_BQN).clamp_min(0).to(logits_BQN)
        return cross_entropy(logits_BQN, shares_BQN, weight_BQ)

    def predict(self, x_CF: Array, y_C: Target, x_QF: Array, classes: int) -> NDArray[np.float64]:
        """Predicts probabilities ``(Q, K)`` or numbers ``(Q,)``: the expectation over the bins."""
        x_BTF = torch.from_numpy(np.concatenate([x_CF, x_QF])[None]).to(self.device)
        y_BC = torch.from_numpy(y_C[None])
        with torch.no_grad():
            if classes:
                logits_QK = self._class_scores(x_BTF, y_BC.to(self.device), classes)[0].cpu().double()
                return np.asarray(logits_QK.softmax(dim=-1).numpy())
            mean_B1, deviation_B1 = standard(y_BC)
            logits_BQN = self._bin_logits(x_BTF, ((y_BC - mean_B1) / deviation_B1).float().to(self.device))
            place_BQ = logits_BQN.cpu().double().softmax(dim=-1) @ self._places_N.cpu().double()
            number_BQ = (self._first_centre + self._bin_width * place_BQ) * deviation_B1 + mean_B1
        return np.asarray(number_BQ[0].numpy())

    def _class_scores(self, x_BTF: Tensor, y_BC: Tensor, classes: int) -> Tensor:
        """Returns log-probabilities ``(B, Q, K)`` up to a constant per row.

        More classes than logits are predicted digit by digit in base ``n_out``, as upstream does, and added.
        """
        base, place, digits = self.module.n_out, 1, []
        ids_K = torch.arange(classes, device=x_BTF.device)
        while place < classes:
            logits_BQK = self._outputs(x_BTF, y_BC // place % base)[..., : min(base, classes)]
            digits.append(logits_BQK.log_softmax(dim=-1)[..., ids_K // place % base])
            place *= base
        return torch.stack(digits).sum(dim=0)

    def _bin_logits(self, x_BTF: Tensor, y_BC: Tensor) -> Tensor:
        """Returns logits ``(B, Q, N)`` of the z-score's bins, which have equal widths and are numbered from 0."""
        return self._outputs(x_BTF, y_BC)[..., self.module.n_out :]

    def _outputs(self, x_BTF: Tensor, y_BC: Tensor) -> Tensor:
        """Returns outputs ``(B, Q, O)``."""
        network = self.module
        x_BTW = F.pad(x_BTF, (0, network.num_features - x_BTF.shape[-1]))
        outputs_QBO: Tensor = network(x_BTW, y_BC.float(), self.task == "classification")
        return outputs_QBO.transpose(0, 1)

    def save(self, path: Path) -> None:
        """Writes the file that ``tabdpt.TabDPTClassifier(model_weight_path=...)`` and the regressor open."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        with in_one_move(path) as partial:
            save_file(tensors, partial, metadata={"cfg": self.config})


def scale_on_cpu(module: Network) -> None:
    """Computes attention's scale on the CPU: upstream's, on the GPU, is waited for in every layer."""
    for layer in module.transformer_encoder:
        numbers = {name: getattr(layer, name).cpu().clone() for name in ("n0", "max_len_f", "kappa")}
        layer.get_scale_param = partial(
            _scale, SimpleNamespace(**numbers, disable_attention_scaling=layer.disable_attention_scaling)
        )


def _scale(numbers: SimpleNamespace, eval_pos: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    scale: Tensor = TransformerEncoderLayer.get_scale_param(numbers, eval_pos, device=CPU, dtype=dtype)
    return scale


def standard(y_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and deviation ``(B, 1)`` of the context's numbers, in the widest float.

    Upstream adds 1e-6, which shrinks small targets; here only the deviation of a constant target is replaced.
    """
    y_BC = y_BC.double()
    mean_B1 = y_BC.mean(dim=1, keepdim=True)
    variance_B1 = (y_BC - mean_B1).square().sum(dim=1, keepdim=True) / max(1, y_BC.shape[1] - 1)
    return mean_B1, variance_B1.sqrt().clamp_min(torch.finfo(torch.float32).tiny)


def read_checkpoint(path: Path, card: ModelCard, task: Task) -> tuple[Network, str]:
    """Returns the upstream module of a file, and its configuration as JSON, or raises CheckpointError."""
    with refused_as(CheckpointError, f"{path} is not a TabDPT checkpoint", WAY_OUT):
        tensors, beside = read_safetensors(path)
        if "cfg" not in beside:
            raise Damaged("its metadata lacks the entry 'cfg'")
        if any(name.startswith(("y_encoder.", "y_encoders.")) for name in tensors):
            raise Damaged("it holds the weights of TabDPT 1.2 or earlier; the installed tabdpt package reads 1.3")
        check_config(read_json(beside["cfg"].encode())["model"])
    with refused_as(CheckpointError, f"{path} does not fit the installed tabdpt package", WAY_OUT):
        with torch.device("meta"):
            empty = {name: tensor.to("meta") for name, tensor in tensors.items()}
            Network.load(empty, _settings(beside["cfg"], "meta"), use_flash=False)
        return Network.load(tensors, _settings(beside["cfg"], "cpu"), use_flash=False), beside["cfg"]


def _settings(config: str, device: str) -> SimpleNamespace:
    settings: SimpleNamespace = json.loads(config, object_hook=lambda entries: SimpleNamespace(**entries))
    settings.env.device = device
    return settings


MODEL = TabDPTModel


def stages(module: nn.Module) -> Stages:
    """Returns the stages: the encoder, then label encoders and layer in turn; a layer returns a change."""
    width = int(module.ninp)  # type: ignore[arg-type]

    def layer(i: int) -> tuple[Stage, ...]:
        moved = Stage(
            path=f"transformer_encoder.{i}",
            skip=lambda x, *_: Instead(x),
            keep=lambda residual, x, *_: [x + residual],
            give=lambda take, x, *_: Instead(take(*x.shape)),
        )
        return Stage(path=f"cls_y_encoders.{i}"), Stage(path=f"reg_y_encoders.{i}"), moved

    return Stages(
        every=(
            Stage(path="encoder", skip=lambda x, *_: spread(x, *x.shape[:-1], width)),
            Stage(path="enc_norm", skip=first_of),
            *(
                stage
                for i, _ in enumerate(module.get_submodule("transformer_encoder").children())
                for stage in layer(i)
            ),
            Stage(path="head"),
        )
    )

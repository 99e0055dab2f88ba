"""TabPFN v2, v2.5 and v2.6 through their package: upstream's class, schema, normalisation and cache, in fp32.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes, O outputs.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tabtune_core.data.encoding import Target
from tabtune_core.errors import CheckpointError
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.whole import in_one_move
from tabtune_core.metrics import Task
from tabtune_core.models.base import CACHE_BYTES, Array, BaseModel, Encoded, averaged, context_scale, cross_entropy
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.opened_weights import WAY_OUT, build, check_config, check_task, read_entries
from tabtune_core.models.stages import Stage, Stages
from tabtune_core.models.tabpfn.family import FAMILY
from tabtune_core.upstream import Source

try:
    from tabpfn.architectures import ARCHITECTURES
    from tabpfn.architectures.shared.bar_distribution import FullSupportBarDistribution
    from tabpfn.architectures.tabpfn_v2 import TabPFNV2
    from tabpfn.preprocessing.torch.torch_soft_clip_outliers import TorchSoftClipOutliers
except ImportError as error:
    raise FAMILY.missing_package() from error

LARGEST = 1e140
"""Largest number kept: the square of a larger one can overflow."""
MODELS = {"tabpfn_v2": "tabpfn-v2", "base": "tabpfn-v2.5", "tabpfn_v2_5": "tabpfn-v2.5", "tabpfn_v2_6": "tabpfn-v2.6"}
"""Models by the architecture that a file names; the released files of v2 name none."""
CRITERION = "criterion."
"""Prefix of the tensors with the borders of a regressor's bars."""


class AskedLinear(nn.Linear):
    """A linear layer that upstream calls and whose weight it also reads, so an adapter must go onto the weight."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The content of a checkpoint."""

    module: Any
    entries: dict[str, Any]
    """Its other entries: ``config``, ``architecture_name`` and, in v2.6, ``inference_config`` of the estimators."""
    borders: Tensor | None
    """Of a regressor's bars; None for a classifier."""
    temperature: float
    """Divisor of the outputs; the training loss uses it too, so that training matches prediction."""
    outlier: float | None
    """Standard deviations beyond which numbers are clipped; None: numbers are not clipped."""


class TabPFNModel(BaseModel):
    """A TabPFN classifier or regressor. ``module`` is the upstream module; its computation is unchanged."""

    def __init__(self, card: ModelCard, task: Task, source: Source, opened: Opened, device: torch.device) -> None:
        self.card, self.task, self.source, self.device = card, task, source, device
        self.config, self._opened = opened.entries["config"], opened
        self.module = opened.module.to(device).eval()
        if isinstance(self.module, TabPFNV2):
            self.module.feature_group_embedder.__class__ = self.module.target_embedder.__class__ = AskedLinear
        self.native_classes: int | None = int(self.module.n_out) if opened.borders is None else None
        self._bars = None if opened.borders is None else FullSupportBarDistribution(opened.borders.float().to(device))

    def fit_preprocessing(self, x_CF: Encoded) -> Callable[[Encoded], Array]:
        """Fits to the context: upstream's soft clip, dropping constant columns, standardizing; missing numbers stay.

        Double precision preserves large columns that vary little, which the module would round. In a column with one
        distinct number and missing cells, every number becomes that one, as another would change its neighbour.
        """
        known_CF = np.clip(x_CF, -LARGEST, LARGEST)
        empty_F = np.isnan(x_CF).all(axis=0)
        known_CF[:, empty_F] = 0.0
        clip = None if self._opened.outlier is None else TorchSoftClipOutliers(self._opened.outlier)
        bounds = clip and clip.fit(torch.from_numpy(known_CF))

        def clipped(x_NF: Encoded) -> Encoded:
            return np.asarray(clip.transform(torch.from_numpy(x_NF), bounds)) if clip else x_NF

        known_CF = clipped(known_CF)
        single_F = np.nanmax(known_CF, axis=0) == np.nanmin(known_CF, axis=0)
        kept_F = np.flatnonzero(~single_F | np.isnan(known_CF).any(axis=0))
        if not kept_F.size:
            kept_F = np.zeros(3, int)  # v2's module needs two pairs, even of a constant column
        mean_F, scale_F = np.nanmean(known_CF, axis=0), np.where(single_F, 1.0, np.nanstd(known_CF, axis=0))

        def transform(x_NF: Encoded) -> Array:
            x_NF = clipped(np.where(empty_F & np.isnan(x_NF), 0.0, np.clip(x_NF, -LARGEST, LARGEST)))
            x_NF = np.where(single_F & ~np.isnan(x_NF), mean_F, x_NF)
            scored_NF: Array = ((x_NF - mean_F) / scale_F)[:, kept_F].astype(np.float32)
            return scored_NF

        return transform

    def loss(self, x_BTF: Tensor, y_BC: Tensor, y_BQ: Tensor, classes: int, weight_BQ: Tensor | None = None) -> Tensor:
        """Computes cross-entropy (nats) over classes, or the bar distribution's loss of the standardized target."""
        mean_B1, scale_B1 = (0.0, 1.0) if classes else context_scale(y_BC)
        outputs_BQO = self._outputs(x_BTF, y_BC if classes else (y_BC - mean_B1) / scale_B1)
        if self._bars is None:
            return cross_entropy(self._by_class(outputs_BQO, y_BC, classes), y_BQ, weight_BQ)
        return averaged(self._bars(outputs_BQO, (y_BQ - mean_B1) / scale_B1), weight_BQ)

    def predict(self, x_CF: Array, y_C: Target, x_QF: Array, classes: int) -> NDArray[np.float64]:
        """Predicts probabilities ``(Q, K)``, or numbers ``(Q,)``: the mean of the bar distribution."""
        y_BC, mean, scale = self._shown(y_C, classes)
        with torch.no_grad():
            outputs_BQO = self._outputs(self._tensor(np.concatenate([x_CF, x_QF])), y_BC)
            return self._answers(outputs_BQO, y_BC, classes, mean, scale)

    def read_context(self, x_CF: Array, y_C: Target, classes: int) -> Callable[[Array], NDArray[np.float64]]:
        """Uses upstream's cache of keys and values, of one head per block and pair, if it fits ``CACHE_BYTES``."""
        pairs = -(-x_CF.shape[1] // self.module.features_per_group) + 1
        numbers = 2 * len(x_CF) * len(self.module.blocks) * pairs * (self.module.emsize // self.config["nhead"])
        if numbers * torch.float32.itemsize > CACHE_BYTES:
            return super().read_context(x_CF, y_C, classes)
        y_BC, mean, scale = self._shown(y_C, classes)
        with torch.no_grad():
            # the class's own forward, not one that replaces stages with cached outputs, without keys and values
            forward = type(self.module).forward
            _, cache = forward(self.module, self._tensor(x_CF).transpose(0, 1), y_BC.T.float(), return_kv_cache=True)

        def predict(x_QF: Array) -> NDArray[np.float64]:
            with torch.no_grad():
                x_QBF = self._tensor(x_QF).transpose(0, 1)
                cached = {"kv_cache": cache, "return_kv_cache": True, "x_is_test_only": True}
                outputs_QBO, _ = forward(self.module, x_QBF, None, **cached)
                return self._answers(outputs_QBO.transpose(0, 1) / self._opened.temperature, y_BC, classes, mean, scale)

        return predict

    def save(self, path: Path) -> None:
        """Writes a checkpoint that ``tabpfn.TabPFNClassifier(model_path=...)`` opens, with the licence of its base."""
        tensors = dict(self.module.state_dict())
        if self._bars is not None:
            borders = self._bars.borders
            tensors |= {f"{CRITERION}borders": borders, f"{CRITERION}losses_per_bucket": torch.zeros_like(borders[1:])}
        with in_one_move(path) as partial, partial.open("wb") as stream:  # torch's own errors hide that a disk is full
            torch.save({**self._opened.entries, "state_dict": tensors, "licence": str(self.source.licence)}, stream)

    def _tensor(self, x_TF: Array) -> Tensor:
        return torch.from_numpy(x_TF[None]).to(self.device)

    def _shown(self, y_C: Target, classes: int) -> tuple[Tensor, float, float]:
        """Returns labels as the module reads them, and mean and scale of a numeric target."""
        if classes:
            return torch.from_numpy(y_C[None]).to(self.device), 0.0, 1.0
        mean, scale = float(y_C.mean()), float(y_C.std()) or 1.0
        return torch.from_numpy(((y_C - mean) / scale)[None]).float().to(self.device), mean, scale

    def _outputs(self, x_BTF: Tensor, y_BC: Tensor) -> Tensor:
        """Returns outputs ``(B, Q, O)``; upstream has the row axis first."""
        outputs_QBO: Tensor = self.module(x_BTF.transpose(0, 1), y_BC.T.float())
        return outputs_QBO.transpose(0, 1) / self._opened.temperature

    def _answers(
        self, outputs_BQO: Tensor, y_BC: Tensor, classes: int, mean: float, scale: float
    ) -> NDArray[np.float64]:
        """Turns the outputs of one table into probabilities or numbers."""
        outputs = outputs_BQO.double()
        if self._bars is None:
            answers = torch.softmax(self._by_class(outputs, y_BC, classes), dim=-1)
        else:
            answers = mean + scale * self._bars.mean(outputs)
        return np.asarray(answers[0].cpu().numpy())

    def _by_class(self, outputs_BQO: Tensor, y_BC: Tensor, classes: int) -> Tensor:
        """Returns logits ``(B, Q, K)``; v2's module numbers the classes in the context first, then the absent ones."""
        if not isinstance(self.module, TabPFNV2):
            return outputs_BQO[..., :classes]
        absent_BK = 1 - F.one_hot(y_BC, classes).amax(dim=1)
        place_BK = absent_BK.argsort(dim=1, stable=True).argsort(dim=1)
        return outputs_BQO.gather(-1, place_BK[:, None].expand(-1, outputs_BQO.shape[1], -1))


def read_checkpoint(path: Path, card: ModelCard, task: Task) -> Opened:
    """Reads a file of a card's architecture, without running any code in it, or raises CheckpointError."""
    with refused_as(CheckpointError, f"{path} is not a {card.title} checkpoint", WAY_OUT):
        content = read_entries(path)
        made_for = content.get("architecture_name", "tabpfn_v2")
        if made_for not in MODELS:
            raise Damaged(f"its architecture is {made_for!r}, not that of TabPFN v2, v2.5 or v2.6")
        if MODELS[made_for] != card.name:
            raise Damaged(f"its architecture is {made_for!r}, which the model {MODELS[made_for]} opens")
        config, tensors = content["config"], content["state_dict"]
        check_config(config)
        upstream = ARCHITECTURES[card.name.replace("-", "_").replace(".", "_")]
        parsed, _ = upstream.parse_config(config)
        borders = tensors.get(f"{CRITERION}borders")
        own = {name: tensor for name, tensor in tensors.items() if not name.startswith(CRITERION)}
        if any(name.startswith("transformer_encoder.") for name in own):
            own = upstream._replace_keys_from_base_architecture(own)
        if parsed.max_num_classes > 0:
            borders = None
        elif borders is None or borders.shape != (parsed.num_buckets + 1,) or not (borders.diff() > 0).all():
            raise Damaged("the borders of its bars are missing or not in order")
        entries = {"config": {**asdict(parsed), **config}, "architecture_name": made_for}
        if "inference_config" in content:
            entries["inference_config"] = content["inference_config"]
        read_with = _estimator(content.get("inference_config", {}), numbers=borders is not None)
    module = build(path, lambda: upstream.get_architecture(parsed), own, "tabpfn")
    check_task(path, "classification" if borders is None else "regression", task)
    return Opened(module, entries, borders, *read_with)


def _estimator(config: Any, *, numbers: bool) -> tuple[float, float | None]:
    """Returns temperature and outlier bound of upstream's estimators; raises Damaged if they are not positive."""
    if not isinstance(config, dict):
        raise Damaged("its 'inference_config' holds no entries by name")
    temperature, outlier = config.get("SOFTMAX_TEMPERATURE", 0.9), config.get("OUTLIER_REMOVAL_STD", "auto")
    if outlier == "auto":
        kind, usual = ("REGRESSION", None) if numbers else ("CLASSIFICATION", 12.0)
        outlier = config.get(f"_{kind}_DEFAULT_OUTLIER_REMOVAL_STD", usual)
    if not all(isinstance(one, int | float) and one > 0 for one in (temperature, 1.0 if outlier is None else outlier)):
        raise Damaged("its 'inference_config' has a temperature or an outlier bound that is not a positive number")
    return temperature, outlier


MODEL = TabPFNModel


def stages(module: nn.Module) -> Stages:
    """Returns the stages: embeddings, thinking rows except in v2, then blocks over all cells."""

    def cells(given: list[Tensor] | Tensor) -> Tensor:
        """Returns the cells; upstream expects a list of them to be emptied."""
        return given.pop() if isinstance(given, list) else given

    def block(i: int) -> Stage:
        return Stage(
            path=f"blocks.{i}",
            skip=lambda given, *_, **__: (cells(given), None),
            keep=lambda output, *_, **__: [output[0]],
            give=lambda take, given, *_, **__: (take(*cells(given).shape), None),
        )

    columns = ("feature_group_embedder", "feature_positional_embedding_embeddings")
    later = (*columns, "target_embedder", "add_thinking_rows")
    first = [Stage(path=path) for path in (("target_embedder", *columns) if isinstance(module, TabPFNV2) else later)]
    blocks = [block(i) for i, _ in enumerate(module.get_submodule("blocks").children())]
    return Stages(every=(*first, *blocks, Stage(path="output_projection")))

"""The rank curve of one run: its trained update cut to lower ranks and scored on the run's own rows, and the spectrum of every layer.

In: a run with an adapter package. Out: plain values for the page. A run trained *at* a lower rank may do better than the cut update, which
is not trained again: the curve says how much of this run's gain lies in its first directions.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from tabtune_core.data.datasets import load_frame
from tabtune_core.data.splits import SplitName
from tabtune_core.engine.adapted_model import AdaptedModel, open_base
from tabtune_core.errors import AdapterError
from tabtune_core.lora.attach import adapter_at, weight_name
from tabtune_core.lora.inject import LoraReport, adapter_updates, load_factors
from tabtune_core.lora.package import AdapterPackage, read_package
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import BaseModel, with_module
from tabtune_core.store.jobs import write_progress
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.runs import RunStore
from tabtune_core.training.scoring import HeldOut, Shown


@dataclass(frozen=True, slots=True)
class Directions:
    """The singular value decomposition of ``scaling * B A``, in double precision on the CPU."""

    left: torch.Tensor
    """U: orthonormal columns."""
    values: torch.Tensor
    """s, largest first; its length ``sqrt(sum s^2)`` is the Frobenius norm of the update."""
    right: torch.Tensor
    """V^T: orthonormal rows."""
    scaling: float
    """The factor in front of B A."""
    width: int
    """r of the original factors, which may exceed the number of directions."""

    def factors(self, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns A and B of the update cut to ``rank``, padded with zeros to the shapes of the original factors."""
        root = (self.values[:rank] / self.scaling).sqrt()
        a, b = root[:, None] * self.right[:rank], self.left[:, :rank] * root
        missing = self.width - len(a)
        return F.pad(a, (0, 0, 0, missing)), F.pad(b, (0, missing))


def directions(a: torch.Tensor, b: torch.Tensor, scaling: float) -> Directions:
    """Decomposes ``scaling * B A`` by QR of B and A^T and the SVD of the small ``(r, r)`` core between them (Golub and Van Loan, 5.4)."""
    out_basis, out_core = torch.linalg.qr(b.detach().cpu().double())
    in_basis, in_core = torch.linalg.qr(a.detach().cpu().double().T)
    left, values, right = torch.linalg.svd(scaling * out_core @ in_core.T, full_matrices=False)
    return Directions(out_basis @ left, values, right @ in_basis.T, scaling, len(a))


PARTS: tuple[SplitName, ...] = ("validation", "test")
FACTORS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "start_")
"""In the names of the tensors of low-rank updates."""


def rank_curve(home: Path, folder: Path, *, run: str) -> dict[str, Any]:
    """Scores a run's adapter at each lower rank.

    Args:
        home: the workspace.
        folder: progress is written here before every rank.
        run: id of a LoRA run with a result.

    Returns:
        ``ranks`` (0 is the base alone); ``validation`` and ``test``, every metric at each rank; ``layers``: path, target, shape
        ``[out, in]``, rank, singular_values, update_norm and weight_norm (Frobenius); ``beside``: how many other tensors trained, which
        are kept at every rank except 0; ``seconds``.

    Raises:
        AdapterError: the run is not a LoRA run, or its adapter package, predictions or rows are missing.
        CheckpointError: the base's weights cannot be found.
    """
    started, store = time.monotonic(), RunStore(home)
    asked = store.run(run)
    if asked.settings.strategy != "peft":
        raise AdapterError(f"{asked.name} has no low-rank update; choose a LoRA run.")
    parts = {part: found for part in PARTS if (found := read_predictions(store, run, part)) is not None and len(found.rows_N)}
    if "validation" not in parts:
        raise AdapterError(f"The predictions of {asked.name} are missing, so its rows cannot be scored. Run it again.")
    package = read_package(store.run_dir(run) / ADAPTER_FILE)
    settings, base = asked.settings, package.facts.base
    model = open_base(settings.model, settings.task, base.sha256, checkpoint=settings.checkpoint, device=settings.device)
    trained = _Trained.on(AdaptedModel(model, settings, package.facts), package)
    table = load_frame(home, settings.dataset)
    shown = Shown.to(model, trained.adapted.context(table), views=settings.train.views)
    held_out = {part: HeldOut(one.rows_N, shown.read(table.iloc[one.rows_N]), one.y_N, one.rarer) for part, one in parts.items()}
    ranks, scored = ranks_up_to(max(len(found.values) for found in trained.found.values())), []
    for done, rank in enumerate(ranks):
        write_progress(folder, done, len(ranks), "ranks")
        cut = trained.cut(rank)
        scored.append({part: rows.score(shown.scorer.predict(cut, rows.x_NF)) for part, rows in held_out.items()})
    return {
        "ranks": ranks,
        **{part: [scores[part] for scores in scored] for part in held_out},
        "layers": trained.layers(),
        "beside": len([name for name in package.tensors if not any(part in name for part in FACTORS)]),
        "seconds": time.monotonic() - started,
    }


def ranks_up_to(highest: int) -> list[int]:
    """Returns 0, the powers of two below the highest rank, and the highest.

    >>> ranks_up_to(12), ranks_up_to(1)
    ([0, 1, 2, 4, 8, 12], [0, 1])
    """
    return [0, *(2**i for i in range((highest - 1).bit_length())), highest]


@dataclass(frozen=True, slots=True)
class _Trained:
    """A model with the run's adapter, whose update can be cut repeatedly."""

    adapted: AdaptedModel
    base: BaseModel
    """The model without the adapter."""
    report: LoraReport
    tensors: dict[str, torch.Tensor]
    """All trained tensors, as trained."""
    found: dict[str, Directions]
    """Decomposed update of each layer, by path."""
    weight_norms: dict[str, float]

    @classmethod
    def on(cls, adapted: AdaptedModel, package: AdapterPackage) -> "_Trained":
        module = adapted.model.module
        norms = {name: float(parameter.detach().norm()) for name, parameter in module.named_parameters()}
        report = adapt(adapted.model, adapted.settings, package.tensors)
        updates = adapter_updates(adapted.model.module, report)
        found = {layer.path: directions(*updates[layer.path], layer.scaling) for layer in report.layers}
        return cls(adapted, with_module(adapted.model, module), report, package.tensors, found, norms)

    def cut(self, rank: int) -> BaseModel:
        """Returns the model with the first ``rank`` directions of every layer, changed in place; for rank 0, the base."""
        if not rank:
            return self.base
        module = self.adapted.model.module
        load_factors(module, self.report, self.tensors)
        for layer in self.report.layers:
            adapter = adapter_at(module, layer.path)
            adapter.variant.put(adapter, *self.found[layer.path].factors(rank))
        return self.adapted.model

    def layers(self) -> list[dict[str, Any]]:
        """Returns the size of each layer's update, and its singular values."""
        return [
            {
                "path": layer.path,
                "target": layer.target,
                "shape": [layer.out_features, layer.in_features],
                "rank": layer.rank,
                "singular_values": self.found[layer.path].values.tolist(),
                "update_norm": float(self.found[layer.path].values.norm()),
                "weight_norm": self.weight_norms[weight_name(layer.path)],
            }
            for layer in self.report.layers
        ]

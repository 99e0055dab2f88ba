"""The rank curve of one run: its trained update cut to lower ranks and scored on its own rows, and its spectrum.

In: a run with an adapter package. Out: plain values for the page. A run trained *at* a lower rank may do better than
the cut update, which is not trained again: the curve says how much of the gain lies in its first directions.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tabtune_core.execution.jobs.opened_run import held_out_of, open_run
from tabtune_core.lora.attach import adapter_at
from tabtune_core.lora.inject import LoraReport, adapter_updates, load_factors
from tabtune_core.store.jobs import write_progress
from tabtune_core.store.runs import RunStore
from tabtune_core.training.scoring import HeldOut


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

    def needed(self, share: float = 0.9) -> int:
        """Returns how many directions hold this share of the update, measured by its squared norm."""
        energy = self.values.square().cumsum(0)
        return int((energy < share * energy[-1] * (1 - 1e-12)).sum()) + 1


def directions(a: torch.Tensor, b: torch.Tensor, scaling: float) -> Directions:
    """Decomposes ``scaling * B A`` by QR of B and A^T and the SVD of their core (Golub and Van Loan, 5.4)."""
    out_basis, out_core = torch.linalg.qr(b.detach().cpu().double())
    in_basis, in_core = torch.linalg.qr(a.detach().cpu().double().T)
    left, values, right = torch.linalg.svd(scaling * out_core @ in_core.T, full_matrices=False)
    return Directions(out_basis @ left, values, right @ in_basis.T, scaling, len(a))


def rank_curve(home: Path, folder: Path, *, run: str) -> dict[str, Any]:
    """Scores the adapter of a LoRA run at each lower rank; writes its progress to ``folder`` before every rank.

    Returns:
        ``ranks`` (0 is the base alone); ``validation`` and ``test``, every metric at each rank; ``needed``: in how
        many directions at least 90 % of each layer's update lies, without layers that did not move; ``seconds``.

    Raises what ``held_out_of`` and ``open_run`` raise.
    """
    started, store = time.monotonic(), RunStore(home, existing=True)
    parts, opened = held_out_of(store, run), open_run(store, run)
    report, tensors, shown, adapted = opened.report, opened.package.tensors, opened.show(), opened.adapted.model
    updates = adapter_updates(adapted.module, report)
    cuts = {layer.path: directions(*updates[layer.path], layer.scaling) for layer in report.layers}
    frames = {part: shown.read(opened.table.iloc[one.rows_N]) for part, one in parts.items()}
    held_out = {part: HeldOut(one.rows_N, frames[part], one.y_N, one.rarer) for part, one in parts.items()}
    ranks, scored = ranks_up_to(max(len(of_layer.values) for of_layer in cuts.values())), []
    for done, rank in enumerate(ranks):
        write_progress(folder, done, len(ranks), "ranks")
        if rank:
            _cut(adapted.module, report, tensors, cuts, rank)
        model, predict = adapted if rank else opened.base, shown.scorer.predict
        scored.append({part: rows.score(predict(model, rows.x_NF)) for part, rows in held_out.items()})
    return {
        "ranks": ranks,
        **{part: [scores[part] for scores in scored] for part in held_out},
        "needed": [cut.needed() for cut in cuts.values() if cut.values.any()],
        "seconds": time.monotonic() - started,
    }


def ranks_up_to(highest: int) -> list[int]:
    """Returns 0, the powers of two below the highest rank, and the highest.

    >>> ranks_up_to(12), ranks_up_to(1)
    ([0, 1, 2, 4, 8, 12], [0, 1])
    """
    return [0, *(2**i for i in range((highest - 1).bit_length())), highest]


def _cut(
    module: nn.Module,
    report: LoraReport,
    tensors: Mapping[str, torch.Tensor],
    directions: Mapping[str, Directions],
    rank: int,
) -> None:
    """Puts the first ``rank`` directions of every layer (by path) in place of its trained ``tensors``."""
    load_factors(module, report, tensors)
    for layer in report.layers:
        adapter = adapter_at(module, layer.path)
        adapter.variant.put(adapter, *directions[layer.path].factors(rank))

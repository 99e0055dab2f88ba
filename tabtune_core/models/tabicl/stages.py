"""The stages of TabICL's forward pass."""

from typing import Any

import torch
from torch import nn

from tabtune_core.models.stages import Stage, Stages, first_of


def stages(module: nn.Module) -> Stages:
    """Columns, rows and the blocks of in-context attention. Upstream writes into what the first two give, hence copies."""
    columns, rows, in_context = (module.get_submodule(name) for name in ("col_embedder", "row_interactor", "icl_predictor"))
    cell, deep = int(columns.embed_dim), int(rows.embed_dim) * int(rows.num_cls)  # type: ignore[arg-type]

    blocks = list(in_context.get_submodule("tf_icl.blocks").children())

    def copied(output: torch.Tensor, *_: Any, **__: Any) -> list[torch.Tensor]:
        return [output.clone()]

    def block(i: int) -> Stage:
        """The last one answers for the query rows alone: see ``lean_forward``."""
        last = i == len(blocks) - 1
        return Stage(
            path=f"icl_predictor.tf_icl.blocks.{i}",
            skip=first_of,
            keep=lambda output, *_, **__: [output],
            give=lambda take, q, *, train_size=None, **_: take(*q.shape[:-2], q.shape[-2] - last * (train_size or 0), q.shape[-1]),
        )

    first = (
        Stage(path="col_embedder", skip=first_of, keep=copied, give=lambda take, x, *_, **__: take(*x.shape[:2], -1, cell)),
        Stage(
            path="row_interactor",
            skip=lambda x, *_, **__: x.new_zeros(*x.shape[:2], deep),
            keep=copied,
            give=lambda take, x, *_, **__: take(*x.shape[:2], deep),
        ),
        Stage(path="icl_predictor.y_encoder"),
    )
    after = [f"icl_predictor.{name}" for name in ("ln", "decoder") if hasattr(in_context, name)]
    return Stages(
        every=(*first, *(block(i) for i, _ in enumerate(blocks)), *(Stage(path=path) for path in after)),
        entries=("forward", "_inference_forward"),
    )

"""The parts of each family in the order in which its forward calls them, and what stands in for one that need not run.

In: an upstream module. Out: its parts, up to the last, for whoever keeps what the first ones give while they are frozen.
Between two parts upstream's own code runs as ever: a part that is passed over gives something of the right shape, which nothing reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Take = Callable[..., torch.Tensor]
"""From a shape to the next tensor that was kept; one length may be -1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A module within a model, called by its forward with tensors first."""

    path: str
    skip: Callable[..., Any] | None = None
    """Called with the part's arguments in its place, where a later part gives what was kept; None: the part runs all the same."""
    keep: Callable[..., list[torch.Tensor]] | None = None
    """From the part's output and its arguments: all of the parts before it that the forward goes on with. None: not to be cut here."""
    give: Callable[..., Any] | None = None
    """From ``Take`` and the part's arguments: an output with which the forward goes on as if everything before had run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Of a model."""

    every: tuple[Part, ...]
    """In the order of their calls. What lies under none of them is called or read anywhere."""
    entries: tuple[str, ...] = ("forward",)
    """Methods of the model that call the parts; one may call another."""


class Instead:
    """A residual that turns ``x + residual`` into a tensor given beforehand, to the last bit."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def __radd__(self, x: object) -> torch.Tensor:
        """The tensor in place of the sum."""
        return self.value


def _first(*given: Any, **named: Any) -> Any:
    return (*given, *named.values())[0]


def _spread(x: torch.Tensor, *shape: int) -> torch.Tensor:
    """Zeros that take no memory, for those who do not write into them."""
    return x.new_zeros(()).expand(shape)


def tabicl_parts(module: nn.Module) -> Parts:
    """Columns, rows and the blocks of in-context attention. Upstream writes into what the first two give, hence copies."""
    columns, rows, in_context = (module.get_submodule(name) for name in ("col_embedder", "row_interactor", "icl_predictor"))
    cell, deep = int(columns.embed_dim), int(rows.embed_dim) * int(rows.num_cls)  # type: ignore[arg-type]

    def copied(output: torch.Tensor, *_: Any, **__: Any) -> list[torch.Tensor]:
        return [output.clone()]

    def block(i: int) -> Part:
        return Part(
            path=f"icl_predictor.tf_icl.blocks.{i}", skip=_first, keep=lambda output, *_, **__: [output],
            give=lambda take, *given, **named: take(*_first(*given, **named).shape),
        )  # fmt: skip

    first = (
        Part(path="col_embedder", skip=_first, keep=copied, give=lambda take, x, *_, **__: take(*x.shape[:2], -1, cell)),
        Part(
            path="row_interactor", skip=lambda x, *_, **__: x.new_zeros(*x.shape[:2], deep), keep=copied,
            give=lambda take, x, *_, **__: take(*x.shape[:2], deep),
        ),
        Part(path="icl_predictor.y_encoder"),
    )  # fmt: skip
    blocks = in_context.get_submodule("tf_icl.blocks")
    last = [f"icl_predictor.{name}" for name in ("ln", "decoder") if hasattr(in_context, name)]
    return Parts(
        every=(*first, *(block(i) for i, _ in enumerate(blocks.children())), *(Part(path=path) for path in last)),
        entries=("forward", "_inference_forward"),
    )


def tabdpt_parts(module: nn.Module) -> Parts:
    """The encoder, then label encoder and layer in turn; a layer gives what its input is to be moved by."""
    width = int(module.ninp)  # type: ignore[arg-type]

    def layer(i: int) -> tuple[Part, ...]:
        moved = Part(
            path=f"transformer_encoder.{i}", skip=lambda x, *_: Instead(x), keep=lambda residual, x, *_: [x + residual],
            give=lambda take, x, *_: Instead(take(*x.shape)),
        )  # fmt: skip
        return Part(path=f"cls_y_encoders.{i}"), Part(path=f"reg_y_encoders.{i}"), moved

    return Parts(
        every=(
            Part(path="encoder", skip=lambda x, *_: _spread(x, *x.shape[:-1], width)),
            Part(path="enc_norm", skip=_first),
            *(part for i, _ in enumerate(module.get_submodule("transformer_encoder").children()) for part in layer(i)),
            Part(path="head"),
        )
    )


def mitra_parts(module: nn.Module) -> Parts:
    """Quantiles, embeddings of features and labels, then layers that take and give context and query side by side."""
    width = int(module.dim)  # type: ignore[arg-type]

    def layer(i: int) -> Part:
        return Part(
            path=f"layers.{i}", skip=lambda support, query, *_, **__: (support, query), keep=lambda output, *_, **__: list(output),
            give=lambda take, support, query, *_, **__: (take(*support.shape), take(*query.shape)),
        )  # fmt: skip

    return Parts(
        every=(
            Part(path="x_quantile", skip=lambda support, query, *_: (support, query)),
            Part(path="x_embedding", skip=lambda x: _spread(x, *x.shape, width)),
            Part(path="y_embedding"),
            *(layer(i) for i, _ in enumerate(module.get_submodule("layers").children())),
            *(Part(path=path) for path in ("final_layer_norm", "final_layer")),
        )
    )


PARTS: dict[str, Callable[[nn.Module], Parts]] = {"TabICL": tabicl_parts, "TabDPT": tabdpt_parts, "Mitra": mitra_parts}
"""By family."""

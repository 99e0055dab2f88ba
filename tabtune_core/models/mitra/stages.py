"""The stages of Mitra's forward pass."""

from torch import nn

from tabtune_core.models.stages import Stage, Stages, spread


def stages(module: nn.Module) -> Stages:
    """Quantiles, embeddings of features and labels, then layers that take and give context and query side by side."""
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

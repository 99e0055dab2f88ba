"""The stages of TabDPT's forward pass."""

from torch import nn

from tabtune_core.models.stages import Instead, Stage, Stages, first_of, spread


def stages(module: nn.Module) -> Stages:
    """The encoder, then label encoder and layer in turn; a layer returns the change of its input."""
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
            *(stage for i, _ in enumerate(module.get_submodule("transformer_encoder").children()) for stage in layer(i)),
            Stage(path="head"),
        )
    )

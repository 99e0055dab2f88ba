"""A small random TabDPT: unlike TabICL it calls every layer, and it looks class labels up in tables."""

import torch
from tabdpt.model import TabDPTModel
from torch import nn

UNUSED = ("reg_y_encoders",)
"""What classification never calls."""
TARGETS = ("transformer_encoder", "encoder", "cls_y_encoders", "head")


def tiny_tabdpt(seed: int = 0) -> TabDPTModel:
    """A module whose weights are all random: upstream starts some at zero, and adapters before those would look dead."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = TabDPTModel(
            dropout=0.0, enc_cell_dim=-1, n_out=4, regression_bin_count=8, regression_bin_min=-10, regression_bin_max=10, nhead=2, nhid=32,
            ninp=32, nlayers=2, num_features=16, base_len=8, max_len=4096, y_encoder_dim=16, n_thinking_rows=4, use_flash=False,
        )  # fmt: skip
        for parameter in module.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    # in train() the query rows see each other; a frozen linear and one that trains differ in the last bit
    return module.requires_grad_(False).eval()


def tabdpt_logits(module: nn.Module, seed: int = 0) -> torch.Tensor:
    """Logits ``(queries, tables, classes)`` of a random classification episode."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, 24, 16, generator=generator), torch.randint(0, 4, (2, 16), generator=generator).float()
    return module(x, y, is_cls=True)[..., :4]

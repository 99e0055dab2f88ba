"""The variants of LoRA, by name: one file and one line each. Loads no torch.

A variant defines how an adapter starts, what is added to the weight, and what that costs; PEFT's own settings choose
it. An adapter has one; ``use_rslora`` only changes the scaling and combines with any of them.
"""

from tabtune_core.variants.base import Variant
from tabtune_core.variants.dora import Dora
from tabtune_core.variants.pissa import Pissa

VARIANTS: dict[str, Variant] = {"lora": Variant(), "dora": Dora(), "pissa": Pissa()}
"""Variants by ``LoraSettings.variant``."""

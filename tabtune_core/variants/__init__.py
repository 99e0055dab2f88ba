"""The variants of LoRA, by name: one file and one line each. Loads no torch, so that pages can compute the size of an
adapter.

A variant defines how an adapter starts, what is added to the weight, and what that costs. It is chosen by settings with
PEFT's own names, so that PEFT's configurations and earlier files keep their meaning: ``use_dora`` changes the update,
``init_lora_weights`` the start. An adapter has one variant; ``use_rslora`` only changes the scaling and combines with
any of them.
"""

from tabtune_core.variants.base import Variant
from tabtune_core.variants.dora import Dora
from tabtune_core.variants.pissa import Pissa

VARIANTS: dict[str, Variant] = {"lora": Variant(), "dora": Dora(), "pissa": Pissa()}
"""Variants by ``LoraSettings.variant``."""

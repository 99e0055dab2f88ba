"""The variants of LoRA, by name: a file and a line each. Importing this loads no torch, so that a page can price an adapter.

A variant says how an adapter starts, what is added to the weight, and what that costs. Settings with PEFT's own names choose it, so that
PEFT's configurations and earlier files mean here what they say: ``use_dora`` is a form of the update, ``init_lora_weights`` a start. One at
a time; ``use_rslora`` is a factor that goes with any of them and is no variant.
"""

from tabtune_core.variants.base import Variant
from tabtune_core.variants.dora import Dora
from tabtune_core.variants.pissa import Pissa

VARIANTS: dict[str, Variant] = {"lora": Variant(), "dora": Dora(), "pissa": Pissa()}
"""By the names that ``LoraSettings.variant`` gives."""

"""With this folder on PYTHONPATH, Python offers the pretend GPUs to runs."""

from tabtune_core import gpus

gpus.TYPES.add("card")
gpus.torch_has_cuda = lambda: True

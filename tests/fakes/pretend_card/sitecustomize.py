"""Every Python that starts with this folder on PYTHONPATH takes the pretend GPUs for ones that runs may have."""

from tabtune_core import gpus

gpus.TYPES.add("card")
gpus.torch_has_cuda = lambda: True
gpus.find_library = lambda name: name  # of the driver

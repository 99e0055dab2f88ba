"""LoRA: the layers, where they are put, and the files that adapters are saved in."""

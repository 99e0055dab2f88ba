"""LoRA: layers, where they go, and the file they travel in."""

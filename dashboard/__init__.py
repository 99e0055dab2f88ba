"""LoRA Lab in the browser. Reads and writes the workspace, starts the worker as a program, and never imports torch."""

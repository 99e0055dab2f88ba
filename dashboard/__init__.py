"""The LoRA Lab dashboard. Reads and writes the workspace, starts the worker as a process, and never imports torch."""

"""Finds the best settings of LoRA in a given time: proposes run after run from the results in the store."""

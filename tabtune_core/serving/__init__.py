"""Adapters of one base behind HTTP: ``loralab serve``."""

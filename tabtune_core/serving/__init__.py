"""Serves adapters of one base over HTTP: ``loralab serve``."""

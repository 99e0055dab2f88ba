"""Runs on the machines of a Ray cluster. ``ray`` is loaded only when a worker is told to use it."""

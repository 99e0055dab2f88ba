"""Carries out a run, from its settings to its files."""

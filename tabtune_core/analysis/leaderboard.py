"""The import path of scripts that New run has written for people: what they use of ``runs_table``."""

from tabtune_core.analysis.runs_table import leaderboard, of_task

__all__ = ["leaderboard", "of_task"]

"""Estimators for scripts and notebooks: a pipeline and a leaderboard."""

"""A run's memory: estimates and measurements."""

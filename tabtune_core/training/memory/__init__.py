"""What a run's memory is, was and will be."""

"""The parts of the Live page: progress, queue, charts, one run, and the link that opens the same view."""

"""``--demo``: a workspace with a finished sweep, which was measured before, and one that goes on."""

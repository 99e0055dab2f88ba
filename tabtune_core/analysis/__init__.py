"""What the runs of a workspace say when they are read together."""

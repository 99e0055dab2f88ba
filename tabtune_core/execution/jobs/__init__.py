"""What a person waits for, and the worker does between runs."""

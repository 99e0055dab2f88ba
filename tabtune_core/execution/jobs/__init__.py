"""The jobs: work that a person waits for and the worker carries out beside runs."""

"""The parts of the soak test, which runs only by name: ``python tests/soak.py --hours 2``."""

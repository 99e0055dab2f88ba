"""The parts of the soak test, which is started by name: ``python tests/soak.py --hours 2``."""

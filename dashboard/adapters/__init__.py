"""The parts of the Adapters page."""

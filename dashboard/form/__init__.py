"""The parts of the New run page: its form, what it costs, and what it starts."""

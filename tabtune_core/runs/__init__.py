"""The run store and what is read from it; nothing here loads torch."""

"""The steps from a file to typed columns."""

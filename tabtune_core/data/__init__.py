"""The path from a file to the inputs of a model: reading, typing, checking, storing, encoding, splitting."""

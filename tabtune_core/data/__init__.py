"""The path from a person's file to the inputs of a model: reading, typing, checking, storing, encoding, splitting,
sampling.
"""

"""The contents of a workspace; the only package with SQL."""

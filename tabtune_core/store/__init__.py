"""What a workspace holds; the only package with SQL."""

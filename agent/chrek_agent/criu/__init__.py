"""CRIU: how it is called, and what its logs mean."""

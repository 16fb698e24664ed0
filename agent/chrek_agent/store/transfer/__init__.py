"""Artifacts on their way from one store to another: directly, or as one file."""

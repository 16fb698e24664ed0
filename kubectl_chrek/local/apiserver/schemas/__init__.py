"""Structural schemas of custom resources: what they drop, fill in and refuse."""

"""A registry of containers' images as a store."""

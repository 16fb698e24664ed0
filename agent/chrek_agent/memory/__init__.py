"""A worker's memory apart from CRIU's images: read in parallel while it is frozen, written back in parallel before it goes on."""

"""A container as the node sees it: its processes, files, and what stands in the way of a capture."""

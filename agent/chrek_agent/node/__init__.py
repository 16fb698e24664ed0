"""The node itself: what it is, what it can take, and its ChrekNode."""

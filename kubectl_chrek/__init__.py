"""kubectl-chrek: GPU inference workers on Kubernetes that are back in seconds instead of minutes."""

__version__ = "0.1.0"

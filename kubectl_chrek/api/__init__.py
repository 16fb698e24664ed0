"""What all programs agree on: identity, objects, names and errors. Imports no Kubernetes client and no user interface."""

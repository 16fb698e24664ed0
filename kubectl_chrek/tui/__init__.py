"""The terminal user interface: a live view of the cluster's checkpoints. The only package that knows Textual."""

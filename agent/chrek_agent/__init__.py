"""The node agent: dumps and restores the containers of its node, and keeps the artifact store."""

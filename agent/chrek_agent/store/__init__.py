"""The artifact store: what a capture leaves and a restore reads."""

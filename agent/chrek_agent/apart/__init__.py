"""Memory that a cooperative worker keeps apart from its capture: taken from it before the dump, handed back after the restore."""

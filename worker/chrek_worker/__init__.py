"""What runs inside a worker's container: a PID-1 shim. Standard library only, Python >= 3.9, mounted from a ConfigMap."""

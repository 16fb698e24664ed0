"""GPU memory of a worker: moved to the host by NVIDIA's driver before a dump, and back after a restore.

Measured on one H200 by benchmarks/gpu. Workers on several GPUs have not been run through it yet: docs/gpus.md.
"""

"""GPU memory of a worker: moved to the host by NVIDIA's driver before a dump, and back after a restore.

Nothing here has run on a GPU yet: the order of the calls is tested against a recording driver, the calls themselves are not.
"""

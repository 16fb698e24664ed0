"""What makes objects happen: Jobs, ReplicaSets, Deployments, and the scheduler. One process, pure plans, one writer each."""

from kubectl_chrek.local.controllers.running import run_controllers

__all__ = ["run_controllers"]

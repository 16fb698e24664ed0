"""A node on this machine: what a kubelet and containerd do, in small, with runc."""

from kubectl_chrek.local.node.config import IMAGE, NodeConfig
from kubectl_chrek.local.node.node import MIRROR, Node, check_machine

__all__ = ["IMAGE", "MIRROR", "Node", "NodeConfig", "check_machine"]

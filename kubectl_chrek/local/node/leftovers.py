"""What an earlier node that was killed left behind in this state directory."""

import contextlib
import shutil
from pathlib import Path

from kubectl_chrek.local.node import cgroups, commands, mounts, network, volumes
from kubectl_chrek.local.node.config import NodeConfig, absolute


async def clean(config: NodeConfig) -> None:
    """Removes containers, networks, groups, volumes and mounts of all pods that it knows. Claims stay."""
    for identifier in _names(config.runc_root):
        with contextlib.suppress(commands.CommandError):
            await commands.run("runc", "--root", str(config.runc_root), "delete", "--force", identifier)
    for uid in _names(config.kubelet_root / "pods"):
        await network.remove(uid)
        for path in cgroups.find(config.cgroup_root, uid, config.cgroup_parent):
            cgroups.remove(config.cgroup_root, path)
        volumes.remove(config, uid)
    cgroups.remove_parents(config)
    mounts.unmount_below(absolute(config.state))
    for directory in (config.run_root, config.kubelet_root, config.log_root):
        shutil.rmtree(directory, ignore_errors=True)


def _names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()] if directory.exists() else []

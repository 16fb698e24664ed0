"""What a container may do: capabilities, users, and what of /proc it sees; the defaults are containerd's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

DEFAULT_CAPABILITIES: Final = (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"
)
_ALL_CAPABILITIES: Final = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST "
    "NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM "
    "BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
"""In the order of their numbers."""
MASKED: Final = (
    "/proc/asound /proc/acpi /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/timer_stats /proc/sched_debug "
    "/proc/scsi /sys/firmware /sys/devices/virtual/powercap"
)
READ_ONLY: Final = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"


def permitted(status: str | None = None) -> set[str]:
    """The capabilities this process has and can give; `status` is the text of a /proc/PID/status."""
    text = Path("/proc/self/status").read_text() if status is None else status
    mask = next(int(line.split()[1], 16) for line in text.splitlines() if line.startswith("CapEff:"))
    return {name for number, name in enumerate(_ALL_CAPABILITIES.split()) if mask >> number & 1}


def capabilities(context: Mapping[str, Any], available: set[str]) -> list[str]:
    """The capabilities of a container with this securityContext, of those that can be given at all."""
    if context.get("privileged"):
        return _named(available)
    changes = context.get("capabilities") or {}
    drop, add = _names(changes.get("drop") or ()), _names(changes.get("add") or ())
    kept = set() if "ALL" in drop else set(DEFAULT_CAPABILITIES.split()) - drop
    return _named(available & (available if "ALL" in add else kept | add))


def effective_context(pod: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """The container's securityContext over the pod's."""
    own = {key: value for key, value in (container.get("securityContext") or {}).items() if value is not None}
    return dict(pod["spec"].get("securityContext") or {}) | own


def user(context: Mapping[str, Any]) -> dict[str, Any]:
    """OCI's `process.user`."""
    groups = list(context.get("supplementalGroups") or ())
    if "fsGroup" in context:
        groups.append(context["fsGroup"])
    found: dict[str, Any] = {"uid": context.get("runAsUser") or 0, "gid": context.get("runAsGroup") or 0}
    return found | ({"additionalGids": groups} if groups else {})


def _names(words: Sequence[str]) -> set[str]:
    return {word.upper().removeprefix("CAP_") for word in words}


def _named(words: set[str]) -> list[str]:
    return [f"CAP_{word}" for word in sorted(words)]

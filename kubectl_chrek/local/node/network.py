"""A network namespace per pod, joined to this machine by a pair of virtual interfaces."""

import contextlib
import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from kubectl_chrek.local.node import commands

# The range that RFC 2544 sets aside for benchmarks: no site routes it.
PODS: Final = IPv4Network("198.18.0.0/16")
HOST: Final = PODS[1]
_TRIES: Final = 16


@dataclass(frozen=True, slots=True)
class Network:
    """A pod's network; `namespace` is the file that names it."""

    name: str
    address: IPv4Address

    @property
    def namespace(self) -> Path:
        """The file that holds the namespace."""
        return Path("/run/netns", self.name)


def name_of(uid: str) -> str:
    """Name of a pod's namespace and of its interface on the host, which may have 15 characters."""
    return f"chrek{hashlib.sha256(uid.encode()).hexdigest()[:10]}"


def candidates(uid: str) -> list[IPv4Address]:
    """Addresses to try for a pod, in order. Other clusters on this machine choose from the same range."""
    usable = PODS.num_addresses - 4
    digest = hashlib.sha256(uid.encode()).digest()
    return [PODS[3 + int.from_bytes(digest[step : step + 4]) % usable] for step in range(_TRIES)]


async def create(uid: str) -> Network:
    """Makes the pod's namespace, with `lo` and `eth0` up and a route from the host.

    Raises:
        CommandError: The kernel refused.
    """
    name = name_of(uid)
    await remove(uid)
    await commands.run("ip", "netns", "add", name)
    try:
        link = f"link add {name} type veth peer name eth0 netns {name}\nlink set {name} up\naddr add {HOST}/32 dev {name}\n"
        await commands.run("ip", "-batch", "-", stdin=link)
        address = await _route(uid, name)
        inside = (
            "link set lo up\nlink set eth0 up\n"
            f"addr add {address}/32 dev eth0\nroute add {HOST} dev eth0 scope link\nroute add default via {HOST} dev eth0\n"
        )
        await commands.run("ip", "-n", name, "-batch", "-", stdin=inside)
    except BaseException:
        await remove(uid)
        raise
    # Pods reach each other through the host; only what comes in from a pod is forwarded, no setting of the host changes.
    _forward(name)
    return Network(name, address)


async def remove(uid: str) -> None:
    """Takes the pod's namespace, interfaces and route away, if they are there."""
    name = name_of(uid)
    if _exists("/sys/class/net", name):
        with contextlib.suppress(commands.CommandError):
            await commands.run("ip", "link", "del", name)
    if _exists("/run/netns", name):
        await commands.run("ip", "netns", "del", name)


async def _route(uid: str, name: str) -> IPv4Address:
    """The first address that no other pod has: a route is made exclusively, so it is the lock too."""
    *others, last = candidates(uid)
    for address in others:
        with contextlib.suppress(commands.CommandError):
            await commands.run("ip", "route", "add", f"{address}/32", "dev", name, "src", str(HOST))
            return address
    await commands.run("ip", "route", "add", f"{last}/32", "dev", name, "src", str(HOST))
    return last


def _forward(name: str) -> None:
    with contextlib.suppress(OSError):
        Path("/proc/sys/net/ipv4/conf", name, "forwarding").write_text("1")


def _exists(directory: str, name: str) -> bool:
    return Path(directory, name).exists()

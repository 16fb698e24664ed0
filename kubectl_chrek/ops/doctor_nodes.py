"""`doctor` about nodes: an agent on each GPU node, alive, of our version, and what it found out itself. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from kubectl_chrek.api import names
from kubectl_chrek.api.node import OK, ChrekNode, StoreStatus
from kubectl_chrek.ops.findings import Finding, fail, ok, warn
from kubectl_chrek.ops.formatting import human_age, human_bytes, plural

FULL: Final = 0.02
NEARLY_FULL: Final = 0.10
"""Parts of a store that are free."""
_AGENTS: Final = f"kubectl get pods -A -o wide -l app.kubernetes.io/name={names.AGENT}"


def check_agents(
    agents: Sequence[ChrekNode], nodes: Sequence[Mapping[str, Any]] | None, now: datetime, *, version: str
) -> list[Finding]:
    """What is to be said of agents and their nodes; `nodes` None: they could not be listed."""
    present = {agent.metadata.name: agent for agent in agents}
    findings = [_coverage(present, nodes)]
    for agent in sorted(agents, key=lambda each: each.metadata.name):
        findings += _about_agent(agent, now, version)
    return findings + _about_stores(agents)


def gpu_nodes(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the nodes that offer GPUs."""
    return sorted(
        node["metadata"]["name"]
        for node in nodes
        if str(((node.get("status") or {}).get("allocatable") or {}).get(names.GPU_RESOURCE, "0")) != "0"
    )


def _coverage(present: Mapping[str, ChrekNode], nodes: Sequence[Mapping[str, Any]] | None) -> Finding:
    if not present:
        return fail("agents", "no node has an agent: nothing is captured or restored", _AGENTS)
    wanted = gpu_nodes(nodes or ())
    without = [name for name in wanted if name not in present]
    if without:
        hint = f"kubectl describe daemonset -A -l app.kubernetes.io/name={names.AGENT}"
        return fail("agents", f"GPU nodes without an agent: {', '.join(without)}", hint)
    count = plural(len(present), "agent")
    return ok("agents", f"{count}; no GPU node is without one" if wanted else count)


def _about_agent(agent: ChrekNode, now: datetime, version: str) -> list[Finding]:
    name, status = f"node/{agent.metadata.name}", agent.status
    if not agent.alive(now):
        heard = human_age(status.agent.heartbeat_at, now)
        fix = f"kubectl logs -A -l app.kubernetes.io/name={names.AGENT} --field-selector spec.nodeName={agent.metadata.name}"
        return [fail(name, f"its agent was last heard of {heard} ago", _AGENTS if heard.startswith("<") else fix)]
    findings = []
    if status.agent.version and status.agent.version.removeprefix("v") != version:
        message = f"its agent is version {status.agent.version}, this plugin is {version}"
        findings.append(warn(f"{name}/version", message, "upgrade whichever is older"))
    bad = [check for check in status.checks if check.verdict != OK]
    findings += [Finding(f"{name}/{check.name}", check.verdict, check.message, check.fix) for check in bad]
    if not findings:
        findings.append(ok(name, _facts(agent)))
    return findings


def _facts(agent: ChrekNode) -> str:
    """What matters of a node, in one line."""
    platform = agent.status.platform
    gpus = platform.gpus or []
    parts = (
        f"kernel {platform.kernel}" if platform.kernel else "",
        f"CRIU {platform.criu}" if platform.criu else "",
        f"driver {platform.driver}" if platform.driver else "",
        f"{len(gpus)} x {gpus[0].model}" if gpus else "",
        f"{plural(len(agent.status.checks), 'check')} passed" if agent.status.checks else "",
    )
    return ", ".join(filter(None, parts)) or "its agent is alive"


def _about_stores(agents: Sequence[ChrekNode]) -> list[Finding]:
    """Free space of each store, once however many nodes use it."""
    stores: dict[tuple[str, str], StoreStatus] = {}
    for agent in agents:
        store = agent.status.store
        if store.location:
            stores[store.type, store.location] = store
    return [_space(store) for _, store in sorted(stores.items()) if store.total_bytes and store.free_bytes is not None]


def _space(store: StoreStatus) -> Finding:
    free, total = store.free_bytes or 0, store.total_bytes or 1
    name, message = "store", f"{store.location}: {human_bytes(free)} of {human_bytes(total)} are free"
    fix = "kubectl chrek df -A, then kubectl chrek gc -A --unreferenced --keep-within 14d"
    if free / total < FULL:
        return fail(name, message, fix)
    return warn(name, message, fix) if free / total < NEARLY_FULL else ok(name, message)

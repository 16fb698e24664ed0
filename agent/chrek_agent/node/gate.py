"""The gate before a restore: a capture that cannot run here is refused before anything is touched."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from chrek_agent.container.discovery import Container
from chrek_agent.criu.runner import Criu
from chrek_agent.errors import IncompatibleError
from chrek_agent.node import facts
from kubectl_chrek.api.compatibility import Check, Compatibility, Verdict, evaluate, failures, read_overrides

LOG: Final = logging.getLogger(__name__)


class Gate:
    """Compares records of captures with this node and a container on it."""

    def __init__(self, criu: Criu) -> None:
        self._criu = criu
        self._version = ""

    async def check(self, record: Compatibility, container: Container, pod: Mapping[str, Any]) -> list[Check]:
        """Lets the capture pass.

        Raises:
            IncompatibleError: With every reason.
        """
        self._version = self._version or await self._criu.version()
        here = await asyncio.to_thread(facts.of_target, self._version, container, pod)
        checks = evaluate(record, here, overrides=read_overrides(pod["metadata"].get("annotations") or {}))
        refuse(checks)
        return checks


def refuse(checks: list[Check]) -> None:
    """Raises IncompatibleError when a check stands in the way; what is waived or not known is logged."""
    for check in checks:
        if check.waived and check.verdict is Verdict.FAIL:
            LOG.warning("compatibility check %s is waived by the pod: %s", check.name, check.reason)
    unknown = ", ".join(check.name for check in checks if check.verdict is Verdict.UNKNOWN)
    if unknown:
        LOG.info("compatibility not known: %s", unknown)
    found = failures(checks)
    if found:
        raise IncompatibleError("; ".join(f"{check.name}: {check.reason}" for check in found))

"""ChrekNode as its readers see it: what one node's agent says of itself, its node and its store.

Only the agent writes it, and only its status. One whose heartbeat is old tells of an agent that is gone.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import Field

from kubectl_chrek.api.checkpoint import Metadata
from kubectl_chrek.api.compatibility import Compatibility
from kubectl_chrek.api.view import View

HEARTBEAT_SECONDS: Final = 30.0
"""How often an agent writes, if nothing else makes it."""
STALE_SECONDS: Final = 120.0
"""An agent that has been silent for longer is taken for gone."""
OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"


class AgentStatus(View):
    """`status.agent`."""

    version: str = ""
    pod: str = ""
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None


class Orphan(View):
    """An artifact that no DynamoCheckpoint of the cluster owns; namespace and name are those of its last owner."""

    artifact: str
    """`<hash>/<generation>`."""
    namespace: str = ""
    name: str = ""
    bytes: int = 0
    """Of the store, its own alone: they return when it is deleted."""


class Orphans(View):
    """All of them, of which the largest are listed."""

    artifacts: int = 0
    bytes: int = 0
    listed: list[Orphan] = Field(default_factory=list)


class StoreStatus(View):
    """`status.store`: where artifacts are kept, in bytes. None: not known."""

    type: str = ""
    location: str = ""
    total_bytes: int | None = None
    free_bytes: int | None = None
    logical_bytes: int | None = None
    """Of all artifacts, as if none shared anything."""
    stored_bytes: int | None = None
    reclaimable_bytes: int | None = None
    artifacts: int | None = None
    measured_at: datetime | None = None
    """When the agent began to add these up. None: it has not, or does not say."""
    orphans: Orphans = Field(default_factory=Orphans)


class CacheStatus(View):
    """`status.cache`: the node's own copies of chunks."""

    bytes: int = 0
    quota_bytes: int = 0
    hashes: list[str] = Field(default_factory=list)


class Ceilings(View):
    """`status.ceilings`: what the node's hardware can do at best, all its threads together. None: not known.

    Copies of memory and digests were measured when its agent first started; of the store it is the fastest read so far.
    """

    copy_bytes_per_second: int | None = None
    hash_bytes_per_second: int | None = None
    store_read_bytes_per_second: int | None = None


class Operation(View):
    """A capture or restore under way. `bytes_total` 0: not known."""

    kind: str
    namespace: str = ""
    checkpoint: str = ""
    pod: str = ""
    step: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    started_at: datetime | None = None


class NodeCheck(View):
    """One finding of the agent about its node; `fix` says what to do about it, empty when it is ok."""

    name: str
    verdict: str = OK
    message: str = ""
    fix: str = ""


class NodeStatus(View):
    """`status`, all of it the agent's."""

    agent: AgentStatus = Field(default_factory=AgentStatus)
    platform: Compatibility = Field(default_factory=Compatibility)
    store: StoreStatus = Field(default_factory=StoreStatus)
    cache: CacheStatus = Field(default_factory=CacheStatus)
    ceilings: Ceilings = Field(default_factory=Ceilings)
    operations: list[Operation] = Field(default_factory=list)
    checks: list[NodeCheck] = Field(default_factory=list)


class ChrekNode(View):
    """A node with an agent; it has the name of its Node."""

    metadata: Metadata
    status: NodeStatus = Field(default_factory=NodeStatus)

    def alive(self, now: datetime) -> bool:
        """Its agent has been heard of lately."""
        heard = self.status.agent.heartbeat_at
        return heard is not None and now - heard < timedelta(seconds=STALE_SECONDS)

    @property
    def verdict(self) -> str:
        """The worst of its checks."""
        found = {check.verdict for check in self.status.checks}
        return next((verdict for verdict in (FAIL, WARN) if verdict in found), OK)


def read_node(body: Mapping[str, Any]) -> ChrekNode:
    """The view over a raw object from the API server."""
    return ChrekNode.model_validate(body)

"""DynamoCheckpoint as its readers see it.

Read-only views over the API server's object: writers send patches of raw dicts, so that fields we do not know survive.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from kubectl_chrek.api import names
from kubectl_chrek.api.compatibility import Compatibility
from kubectl_chrek.api.identity import Identity, parse_identity
from kubectl_chrek.api.view import View


class Metadata(View):
    """The part of `metadata` that we read."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)


class Condition(View):
    """One of `status.conditions`."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class JobSpec(View):
    """`spec.job`: how the worker that is captured is started. Times are in seconds."""

    pod_template_spec: dict[str, Any]
    active_deadline_seconds: int = names.ACTIVE_DEADLINE_SECONDS
    backoff_limit: int = names.BACKOFF_LIMIT
    ttl_seconds_after_finished: int = names.TTL_SECONDS_AFTER_FINISHED


class CapturedProcess(View):
    """One process of a captured tree. `pid` is its number in the container, `bytes` the memory that it held."""

    pid: int
    name: str = ""
    threads: int = 1
    bytes: int = 0


class InventoryProcess(View):
    """One process of an inventory; `resident` is in bytes by kind of memory, `files` how many it had open."""

    pid: int
    parent: int = 0
    command: str = ""
    resident: dict[str, int] = Field(default_factory=dict)
    files: int = 0


class Inventory(View):
    """`status.artifact.inventory`: the part of the artifact's inspect.json that has room in a status."""

    process_count: int = 0
    resident: dict[str, int] = Field(default_factory=dict)
    """Bytes of memory by kind: anonymous, file, shared, huge."""
    mapped: dict[str, int] = Field(default_factory=dict)
    """Bytes of address space, by the same kinds and `reserved`."""
    open_files: dict[str, int] = Field(default_factory=dict)
    """How many, by kind."""
    processes: list[InventoryProcess] = Field(default_factory=list)
    sockets: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)
    variables: list[str] = Field(default_factory=list)
    """Names alone."""
    omitted: dict[str, int] = Field(default_factory=dict)
    """How much of these four lists was left out, by their names."""


class Artifact(View):
    """`status.artifact`, written by the agent once the artifact is committed and verified. Sizes are in bytes."""

    generation: str
    digest: str = ""
    """SHA-256 of manifest.json, hex."""
    bytes: int = 0
    files: int = 0
    node: str = ""
    captured_at: datetime | None = None
    cold_start_seconds: float = 0.0
    """From the start of the source's container to its readiness."""
    capture_seconds: float = 0.0
    phases: dict[str, float] = Field(default_factory=dict)
    """Seconds of each phase of the capture, by name, in order."""
    phase_bytes: dict[str, int] = Field(default_factory=dict)
    """Bytes that a phase has moved, of those that move any."""
    stored_bytes: int | None = None
    """What this capture added to the store. None: not known, for this and the next."""
    unique_bytes: int | None = None
    """What would return if it were deleted."""
    shared_bytes: int | None = None
    """What its chunks that others have as well take of the store."""
    packs: int | None = None
    """How many packs of the store hold its chunks."""
    compatibility: Compatibility = Field(default_factory=Compatibility)
    processes: list[CapturedProcess] = Field(default_factory=list)
    inventory: Inventory | None = None
    """None: captured by an agent that kept none."""


class Progress(View):
    """`status.progress`, written by the agent at most once a second while it captures."""

    step: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_second: float = 0.0
    updated_at: datetime | None = None


class LastRestore(View):
    """`status.lastRestore`, written by the agent after each restore or cold start of a pod that asked for this checkpoint."""

    pod: str = ""
    node: str = ""
    result: str = ""
    """`restored` or `cold`."""
    reason: str = ""
    cause: str = ""
    """Of a cold start: one of names.Cause."""
    seconds: float = 0.0
    at: datetime | None = None
    phases: dict[str, float] = Field(default_factory=dict)
    phase_bytes: dict[str, int] = Field(default_factory=dict)


class Verification(View):
    """`status.verification`, written by an agent that was asked to read the artifact back."""

    nonce: str = ""
    """The annotation's value that it answers."""
    result: str = ""
    """`running`, `ok`, `corrupt`, `failed`: the store does not answer; or `damaged`: another node is to mend it."""
    message: str = ""
    node: str = ""
    bytes: int = 0
    """Read so far."""
    bytes_total: int = 0
    repaired_chunks: int = 0
    """Were damaged, and have been stored anew."""
    repaired_bytes: int = 0
    signed_by: str = ""
    """Fingerprint of the key that it is signed with, of those that the agent trusts."""
    unsigned: str = ""
    """Why that is none, where it was looked for."""
    seconds: float = 0.0
    at: datetime | None = None


class CachedCopy(View):
    """One of `status.caches`: a node that holds the artifact, or a part of it, in its local cache."""

    node: str
    bytes: int = 0
    total: int = 0
    """Bytes that the artifact takes up in the store; 0: not known."""
    generation: str = ""
    """The artifact that was staged, where the node was asked to."""
    message: str = ""
    """Why it is not whole, where the node was asked to have it."""
    at: datetime | None = None


class Status(View):
    """`status`. Phase, conditions, message and job are the operator's; artifact, progress, failure and restores the agent's."""

    phase: str = ""
    identity_hash: str = ""
    location: str = ""
    storage_type: str = ""
    job_name: str = ""
    created_at: datetime | None = None
    message: str = ""
    conditions: list[Condition] = Field(default_factory=list)
    artifact: Artifact | None = None
    progress: Progress | None = None
    failure: str = ""
    """Why the agent's last attempt to capture failed; empty after a success."""
    last_restore: LastRestore | None = None
    restores: int = 0
    cold_starts: int = 0
    cold_starts_by_cause: dict[str, int] = Field(default_factory=dict)
    verification: Verification | None = None
    caches: list[CachedCopy] = Field(default_factory=list)


class Checkpoint(View):
    """A DynamoCheckpoint.

    `metadata.name` need not be the identity's hash; `hash` always is, whatever the status says.
    """

    metadata: Metadata
    spec: dict[str, Any] = Field(default_factory=dict)
    status: Status = Field(default_factory=Status)

    @property
    def identity(self) -> Identity:
        """Raises IdentityError: only an object that got past no CRD schema can do that."""
        return parse_identity(self.spec.get("identity"), where="spec.identity")

    @property
    def hash(self) -> str:
        """The identity's real hash. Raises IdentityError."""
        return self.identity.hash

    @property
    def job(self) -> JobSpec:
        """Raises pydantic.ValidationError: as above."""
        return JobSpec.model_validate(self.spec.get("job", {}))

    @property
    def phase(self) -> str:
        """`Pending` until the operator has written one."""
        return self.status.phase or names.Phase.PENDING

    @property
    def ready(self) -> bool:
        """A verified artifact stands behind it."""
        return self.phase == names.Phase.READY and self.status.artifact is not None

    @property
    def retained(self) -> bool:
        """Its artifact outlives it: `spec.deletionPolicy` is Retain."""
        return self.spec.get("deletionPolicy") == names.RETAIN

    @property
    def pinned(self) -> bool:
        """Never collected."""
        return self.metadata.annotations.get(names.ANNOTATION_PIN, "") not in ("", "false")


def read_checkpoint(body: Mapping[str, Any]) -> Checkpoint:
    """The view over a raw object from the API server."""
    return Checkpoint.model_validate(body)

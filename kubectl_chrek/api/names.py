"""Every string that two programs share, once.

The seed's names are kept letter for letter, so that its commands and YAML work; what is ours alone starts with
`nvidia.com/chrek-` or `CHREK_`.
"""

from typing import Final

GROUP: Final = "nvidia.com"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CHECKPOINT_KIND: Final = "DynamoCheckpoint"
CHECKPOINT_PLURAL: Final = "dynamocheckpoints"
GRAPH_KIND: Final = "DynamoGraphDeployment"
GRAPH_PLURAL: Final = "dynamographdeployments"
POLICY_KIND: Final = "ChrekRetentionPolicy"
POLICY_PLURAL: Final = "chrekretentionpolicies"
NODE_KIND: Final = "ChrekNode"
NODE_PLURAL: Final = "chreknodes"

# Labels.
LABEL_SOURCE: Final = "nvidia.com/checkpoint-source"
"""`true` on a pod that is to be captured as soon as it is Ready."""
LABEL_HASH: Final = "nvidia.com/checkpoint-hash"
LABEL_NAME: Final = "nvidia.com/checkpoint-name"
LABEL_RESTORE: Final = "nvidia.com/chrek-restore-target"
"""`true` on a pod that carries the shim and waits to be restored."""
LABEL_GRAPH: Final = "nvidia.com/dynamo-graph-deployment-name"
LABEL_COMPONENT: Final = "nvidia.com/dynamo-component"

# Annotations.
ANNOTATION_CONTAINER: Final = "nvidia.com/chrek-container"
"""The container of the pod that is captured or restored; absent: `main`, else the first."""
ANNOTATION_STARTUP: Final = "nvidia.com/chrek-startup"
"""Written by the agent on a worker pod: JSON {result: restored|cold, checkpoint, reason, seconds, phases}."""
ANNOTATION_RESTORE_FROM: Final = "nvidia.com/chrek-restore-from"
"""On any pod: name or hash of the DynamoCheckpoint that it starts from; the operator's webhook puts the shim in."""
ANNOTATION_UNTOUCHED: Final = "nvidia.com/chrek-untouched"
"""Written by the webhook on a pod that asked for a checkpoint and did not get the shim: why, in one line."""
SCHEDULING_GATE: Final = "nvidia.com/chrek-checkpoint"
"""On a pod of the Dynamo platform that waits for its checkpoint: it takes no place on a node until the operator lifts this."""
ANNOTATION_PIN: Final = "nvidia.com/chrek-pin"
ANNOTATION_DELETE_AFTER: Final = "nvidia.com/chrek-delete-after"
"""On a DynamoCheckpoint: RFC 3339. The operator deletes it then, unless the annotation is gone or the checkpoint in use."""
ANNOTATION_RETRY: Final = "nvidia.com/chrek-retry"
"""A new value here makes the operator try a Failed DynamoCheckpoint again."""
ANNOTATION_COMPAT_OVERRIDE: Final = "nvidia.com/chrek-compat-override"
"""On a pod: compatibility checks that do not count for it, by name (`kernel,driver`), or `all`."""
ANNOTATION_ADAPTER: Final = "nvidia.com/chrek-adapter"
"""On a pod that is captured: vllm, sglang, trtllm, dynamo, plain, or `off`; absent: found out."""
ANNOTATION_ACCEPTANCE: Final = "nvidia.com/chrek-acceptance"
"""`off` on a pod that is captured: nothing is recorded; on one that is restored: it is not asked before it is called restored."""
ANNOTATION_PROBE: Final = "nvidia.com/chrek-probe"
"""On a pod that is captured: JSON {path, port, body}, a request that a restored worker must answer in the same words."""
OFF: Final = "off"
DYNAMO: Final = "dynamo"
ANNOTATION_ADOPT: Final = "nvidia.com/chrek-adopt"
"""On a DynamoCheckpoint that is not to be captured: an artifact in a store that an agent is to verify and to make its own.

JSON {generation, digest, move}; with `move` that artifact was put there for this alone, and its name goes.
"""
ANNOTATION_SHARE: Final = "nvidia.com/chrek-share-with"
"""On a DynamoCheckpoint: namespaces whose checkpoints may adopt its artifact (`team-b,team-c`), or `*`."""
ANNOTATION_VERIFY: Final = "nvidia.com/chrek-verify"
"""On a DynamoCheckpoint: a new value asks an agent to read its artifact back; the answer is `status.verification`."""
ANNOTATION_REPAIR: Final = "nvidia.com/chrek-repair"
"""Beside ANNOTATION_VERIFY: JSON {nonce, nodes, sources}. What the verification of this nonce finds damaged is to be mended.

`nodes` are asked one after the other, for the copies that they have in their caches; none: whichever agent comes first.
`sources` are other stores, of those that agents may read for this; none: all of them.
"""
ANNOTATION_STAGE: Final = "nvidia.com/chrek-stage"
"""On a DynamoCheckpoint: nodes (`node-a,node-b`, or `*`) whose caches are to hold its artifact; the answers are `status.caches`."""
FINALIZER: Final = "nvidia.com/chrek-artifact"
"""Held on a DynamoCheckpoint until an agent has deleted its artifact."""
MANAGER: Final = "kubectl-chrek"
MASK: Final = "***"
"""Stands for a secret in a recorded command line."""

# Environment of a worker's container.
ENV_STORAGE_TYPE: Final = "DYN_CHECKPOINT_STORAGE_TYPE"
ENV_LOCATION: Final = "DYN_CHECKPOINT_LOCATION"
ENV_PATH: Final = "DYN_CHECKPOINT_PATH"
ENV_HASH: Final = "DYN_CHECKPOINT_HASH"
ENV_SIGNAL_FILE: Final = "DYN_CHECKPOINT_SIGNAL_FILE"
ENV_READY_FILE: Final = "DYN_READY_FOR_CHECKPOINT_FILE"
ENV_MARKER_FILE: Final = "DYN_RESTORE_MARKER_FILE"
ENV_SNAPSHOT_DIR: Final = "DYN_SNAPSHOT_CONTROL_DIR"
"""Makes a Dynamo worker since release 1.1 one that waits to be captured: for sources alone, a cold worker would wait for ever."""
ENV_CONTROL_DIR: Final = "CHREK_CONTROL_DIR"
ENV_CLAIM_SECONDS: Final = "CHREK_CLAIM_SECONDS"
"""How long the shim waits for an agent to claim its pod before it starts cold."""
ENV_RESTORE_SECONDS: Final = "CHREK_RESTORE_SECONDS"
"""How long the shim waits, once claimed, for the restore to finish before it starts cold."""
ENV_ADAPTER: Final = "CHREK_ADAPTER"
"""As ANNOTATION_ADAPTER, which wins."""
ENV_DRIVER_COPY: Final = "CHREK_DRIVER_COPY"
"""`off`: the worker gets no DRIVER_COPY_FILE; `on`: also where there seems to be no GPU."""

# Files and volumes in a worker's container.
CONTROL_DIR: Final = "/checkpoint-signal"
CONTROL_VOLUME: Final = "checkpoint-signal"
SHIM_DIR: Final = "/chrek"
SHIM_VOLUME: Final = "chrek-worker"
SHIM_FILE: Final = "chrek_worker.pyz"
SHIM_CONFIG_MAP: Final = "chrek-worker"
DRIVER_COPY_FILE: Final = "driver_copy-x86_64.so"
"""Beside the shim: what copies for the CUDA driver by several threads; empty where it was not built."""
PODINFO_DIR: Final = "/etc/podinfo"
"""What a restored worker reads anew about its pod: its environment is the captured one's."""
PODINFO_VOLUME: Final = "podinfo"
READY_FILE: Final = "/tmp/checkpoint-ready"  # noqa: S108 - the seed's path, inside the worker's container
MARKER_FILE: Final = "/tmp/dynamo-restored"  # noqa: S108 - the seed's path, inside the worker's container
FALLBACK: Final = "Falling back to cold start"
"""What the shim logs, followed by `: <reason>`; the seed tells users to search for it."""

# Objects.
DEFAULT_CONTAINER: Final = "main"
JOB_PREFIX: Final = "checkpoint-"
LEASE_PREFIX: Final = "chrek-"
AGENT: Final = "chrek-agent"
OPERATOR: Final = "chrek-operator"
WEBHOOK_SECRET: Final = "chrek-webhook"  # noqa: S105 - the name of one
PVC: Final = "chrek-pvc"
BASE_PATH: Final = "/checkpoints"
GPU_RESOURCE: Final = "nvidia.com/gpu"

# Defaults of spec.job, as the seed's CRD has them.
ACTIVE_DEADLINE_SECONDS: Final = 3600
BACKOFF_LIMIT: Final = 3
TTL_SECONDS_AFTER_FINISHED: Final = 300


# Values of spec.deletionPolicy.
DELETE: Final = "Delete"
RETAIN: Final = "Retain"


class Cause:
    """Why a pod started cold, for metrics and `status.lastRestore.cause`; the sentence for people stands beside it.

    The Event's reason is always `ColdStart`.
    """

    NOT_FOUND: Final = "CheckpointNotFound"
    NOT_READY: Final = "CheckpointNotReady"
    INCOMPATIBLE: Final = "Incompatible"
    CORRUPT: Final = "ArtifactCorrupt"
    TRIED_BEFORE: Final = "TriedBefore"
    DEADLINE: Final = "DeadlineExceeded"
    RESTORE_FAILED: Final = "RestoreFailed"
    DIED_EARLY: Final = "DiedEarly"
    NOT_ACCEPTED: Final = "NotAccepted"
    UNREACHABLE: Final = "ApiServerUnreachable"
    STORE: Final = "StoreUnreachable"
    KEY: Final = "KeyMissing"
    SIGNATURE: Final = "NotSigned"


class Phase:
    """Values of `status.phase` of a DynamoCheckpoint."""

    PENDING: Final = "Pending"
    CREATING: Final = "Creating"
    READY: Final = "Ready"
    FAILED: Final = "Failed"


class Condition:
    """Types in `status.conditions` of a DynamoCheckpoint."""

    JOB_CREATED: Final = "JobCreated"
    JOB_COMPLETED: Final = "JobCompleted"
    ARTIFACT_AVAILABLE: Final = "TarAvailable"
    NAME_IS_HASH: Final = "NameIsHash"
    IDENTITY_UNIQUE: Final = "IdentityUnique"


class Reason:
    """Reasons of conditions and events, shared by operator, agent and those who read them."""

    JOB_CREATED: Final = "JobCreated"
    JOB_DELETED: Final = "JobDeleted"
    JOB_SUCCEEDED: Final = "JobSucceeded"
    JOB_FAILED: Final = "JobFailed"
    JOB_RUNNING: Final = "JobRunning"
    JOB_REFUSED: Final = "JobRefused"
    INVALID_JOB: Final = "InvalidJob"
    DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
    ARTIFACT_VERIFIED: Final = "ArtifactVerified"
    ARTIFACT_MISSING: Final = "ArtifactMissing"
    ARTIFACT_CORRUPT: Final = "ArtifactCorrupt"
    NAME_MATCHES: Final = "NameMatchesIdentity"
    IDENTITY_UNIQUE: Final = "OnlyOneOfItsIdentity"
    IDENTITY_SHARED: Final = "IdentityOwnedByAnother"
    RECREATED: Final = "CheckpointRecreated"
    EXPIRED: Final = "CheckpointExpired"
    EXPIRY_KEPT: Final = "CheckpointKept"
    EVICTED: Final = "CheckpointEvicted"
    NAME_DIFFERS: Final = "NameDiffersFromIdentity"
    CHECKPOINT_READY: Final = "CheckpointReady"
    CHECKPOINT_FAILED: Final = "CheckpointFailed"
    CHECKPOINT_CREATED: Final = "CheckpointCreated"
    CHECKPOINT_NOT_FOUND: Final = "CheckpointNotFound"
    INVALID_CHECKPOINT: Final = "InvalidCheckpoint"
    CAPTURE_STARTED: Final = "CaptureStarted"
    CAPTURE_SUCCEEDED: Final = "CaptureSucceeded"
    CAPTURE_FAILED: Final = "CaptureFailed"
    RESTORE_SUCCEEDED: Final = "RestoreSucceeded"
    RESTORE_FAILED: Final = "RestoreFailed"
    COLD_START: Final = "ColdStart"
    VERIFIED: Final = "Verified"


def job_name(checkpoint: str) -> str:
    """Name of the Job that makes the checkpoint of this `metadata.name`."""
    return f"{JOB_PREFIX}{checkpoint}"


def signal_file(identity_hash: str) -> str:
    """Path, inside the source's container, of the file that tells the worker that its capture ended."""
    return f"{CONTROL_DIR}/{identity_hash}.done"


def location(base_path: str, identity_hash: str) -> str:
    """`status.location` of a checkpoint kept in a directory or PVC."""
    return f"{base_path.rstrip('/')}/{identity_hash}"

"""`describe`, to the letter."""

from kubectl_chrek.cluster.resources import CHREK_NODES, EVENTS

MARKS = {
    "nvidia.com/chrek-pin": '{"by": "alice", "note": "demo"}',
    "nvidia.com/chrek-delete-after": "2026-01-31T12:30:00Z",
}
FULL = """\
Name:         warm
Namespace:    default
Hash:         73e74442beb109ed (the name differs; checkpointRef takes the name)
Labels:       a=1, b=2
Annotations:  nvidia.com/chrek-delete-after=2026-01-31T12:30:00Z, nvidia.com/chrek-pin={"by": "alice", "note": "demo"}
Created:      2026-01-31T11:00:00Z (60m ago)
Identity:
  Model:                   Qwen/Qwen3-0.6B
  Backend Framework:       vllm
  Dynamo Version:          <none>
  Tensor Parallel Size:    1
  Pipeline Parallel Size:  1
  Data Type:               <none>
  Max Model Length:        <none>
  Extra Parameters:        <none>
Status:
  Phase:     Ready
  Message:   verified
  Job:       checkpoint-warm
  Location:  /checkpoints/73e74442beb109ed (pvc)
  Caches:    node-a (1.6Gi)
  Verified:  ok 60s ago
  Pinned:    alice: demo; never collected
  Deletes:   in 30m, at 2026-01-31T12:30:00Z, unless undeleted or in use
  Starts:    12 restored, 1 cold (1 ArtifactCorrupt)
Artifact:
  Generation:  g1
  Digest:      abc
  Size:        1.6Gi in 31 files, 1Gi added to the store, 512Mi of its own
  Node:        node-a
  Captured:    2026-01-31T11:05:00Z (55m ago)
  Cold Start:  3m4s
  Capture:     12.5s, 0.14 GB/s
    dump:      8.0s    64%
    verify:    4.5s    36%, 0.38 GB/s
Last Restore:
  Result:    cold: digest mismatch
  Pod:       worker-1
  Node:      node-b
  At:        2026-01-31T11:59:00Z (60s ago)
  Took:      0.42s
    verify:  0.40s  100%, 4.29 GB/s, 54% of the node's hashing (8.00 GB/s)
Conditions:
  Type         Status  Reason            Age  Message
  ----         ------  ------            ---  -------
  JobComplete  True    ArtifactVerified  55m  all is well
Events:
  Type     Reason          Age       From            Message
  ----     ------          ---       ----            -------
  Normal   CaptureStarted  59m       chrek-agent     began\\nwith two lines
  Warning  ColdStart       60s (x3)  chrek-operator  digest mismatch
"""


def test_all_that_is_known(chrek, fake):
    warm = fake.checkpoint(
        "warm",
        model="Qwen/Qwen3-0.6B",
        phase="Ready",
        metadata={"labels": {"b": "2", "a": "1"}, "annotations": MARKS},
        caches=[{"node": "node-a", "bytes": 1717986918}],
        verification={"nonce": "1", "result": "ok", "at": "2026-01-31T11:59:00Z"},
        coldStartsByCause={"ArtifactCorrupt": 1},
        message="verified",
        jobName="checkpoint-warm",
        location="/checkpoints/73e74442beb109ed",
        storageType="pvc",
        restores=12,
        coldStarts=1,
        artifact={
            "generation": "g1",
            "digest": "abc",
            "bytes": 1717986918,
            "storedBytes": 1 << 30,
            "uniqueBytes": 512 << 20,
            "files": 31,
            "node": "node-a",
            "capturedAt": "2026-01-31T11:05:00Z",
            "coldStartSeconds": 184.2,
            "captureSeconds": 12.5,
            "phases": {"dump": 8.0, "verify": 4.5},
        },
        lastRestore={
            "result": "cold",
            "reason": "digest mismatch",
            "pod": "worker-1",
            "node": "node-b",
            "seconds": 0.42,
            "at": "2026-01-31T11:59:00Z",
            "phases": {"verify": 0.4},
        },
        conditions=[
            {
                "type": "JobComplete",
                "status": "True",
                "reason": "ArtifactVerified",
                "message": "all is well",
                "lastTransitionTime": "2026-01-31T11:05:00Z",
            }
        ],
    )
    about = {"kind": "DynamoCheckpoint", "name": "warm", "uid": warm["metadata"]["uid"]}
    ceilings = {"copyBytesPerSecond": 20e9, "hashBytesPerSecond": 8e9, "storeReadBytesPerSecond": 9e9}
    fake.put(CHREK_NODES, "node-b", namespace="", status={"ceilings": ceilings})
    fake.put(
        EVENTS,
        "second",
        involvedObject=about,
        type="Warning",
        reason="ColdStart",
        message="digest mismatch",
        count=3,
        lastTimestamp="2026-01-31T11:59:00Z",
        source={"component": "chrek-operator"},
    )
    fake.put(
        EVENTS,
        "first",
        involvedObject=about,
        type="Normal",
        reason="CaptureStarted",
        message="began\nwith two lines",
        eventTime="2026-01-31T11:01:00.000000Z",
        reportingComponent="chrek-agent",
    )
    result = chrek("describe", "warm")
    assert (result.code, result.out) == (0, FULL)
    assert fake.selectors == ("", f"involvedObject.uid={warm['metadata']['uid']}")


def test_a_capture_under_way(chrek, fake):
    progress = {"step": "dump", "bytesDone": 1 << 30, "bytesTotal": 4 << 30, "bytesPerSecond": 1.5e9}
    fake.checkpoint("busy", phase="Creating", progress=progress, failure="the first try ran out of disk")
    out = chrek("describe", "busy").out
    assert "  Progress:      1Gi of 4Gi (25%), 1.50 GB/s, 2.1s left\n" in out
    assert "  Last Failure:  the first try ran out of disk\n" in out
    assert out.endswith("Artifact:  <none>\nLast Restore:  <none>\nConditions:  <none>\nEvents:  <none>\n")


def test_an_identity_that_is_none_is_told(chrek, fake):
    fake.checkpoint("odd", framework="tgi", metadata={"deletionTimestamp": "2026-01-31T11:59:00Z", "finalizers": ["f"]})
    out = chrek("describe", "odd").out
    assert "Hash:         <unknown>\n" in out
    assert "Deleted:      2026-01-31T11:59:00Z (60s ago); waits for f\n" in out
    assert "  Error:  spec.identity.backendFramework: unknown framework 'tgi'\n" in out


def test_several_and_a_missing_one(chrek, fake):
    fake.checkpoint("a")
    fake.checkpoint("b")
    result = chrek("describe", "a", "nope", "b")
    assert result.code == 4
    assert result.err == 'Error from server (NotFound): dynamocheckpoints.nvidia.com "nope" not found\n'
    assert "\n\nName:         b\n" in result.out
    assert chrek("describe", "a", "-A").code == 2


def test_doctor_tells_who_may_not_export_and_what_mends_it(chrek, fleet):
    assert "pods/exec" not in chrek("doctor").out
    fleet.denied.add(("pods", "create"))
    lines = chrek("doctor").out.splitlines()
    found = next(number for number, line in enumerate(lines) if "access/pods/exec" in line)
    assert lines[found].startswith("warn ")
    assert "you may not run commands in the agents of namespace chrek: export, import and copy do not work" in lines[found]
    assert "helm upgrade --install chrek charts/chrek -n chrek --reuse-values --set exporter.enabled=true" in lines[found + 1]

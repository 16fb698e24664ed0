"""What the tabs of a checkpoint say."""

import json
from collections import Counter

import pytest

from kubectl_chrek.api.node import Ceilings, read_node
from kubectl_chrek.ops.usage import Group
from kubectl_chrek.tui.feed import Outage
from kubectl_chrek.tui.views.artifact import contents_view
from kubectl_chrek.tui.views.document import document_view, to_yaml
from kubectl_chrek.tui.views.events import events_view
from kubectl_chrek.tui.views.nodes import node_view
from kubectl_chrek.tui.views.overview import artifact_view, conditions_view, identity_view, state_view
from kubectl_chrek.tui.views.pods import POD_COLUMNS, pod_cells, read_pod
from kubectl_chrek.tui.views.reading import read_row
from kubectl_chrek.tui.views.status import counts, facts, state
from kubectl_chrek.tui.views.storage import storage_view
from kubectl_chrek.tui.views.timeline import timeline_view

WIDE = 100


@pytest.fixture
def llama(samples):
    return read_row(samples[0])


def test_the_identity_shows_its_hash_and_what_was_hashed(llama):
    text = identity_view(llama, 400).plain
    assert llama.identity is not None
    assert llama.identity.hash in text
    assert llama.identity.canonical() in text


def test_a_name_that_is_not_the_hash_is_told_apart_from_one_that_is(checkpoint_body, llama):
    assert "is not the hash" in identity_view(llama, WIDE).plain
    named = read_row(checkpoint_body(llama.identity.hash))
    assert "is not the hash" not in identity_view(named, WIDE).plain
    assert "is the hash" in identity_view(named, WIDE).plain


def test_a_status_with_another_hash_is_pointed_out(checkpoint_body):
    row = read_row(checkpoint_body("x", status={"identityHash": "e5962d34ba272638"}))
    assert "status.identityHash says e5962d34ba272638" in " ".join(identity_view(row, 400).plain.split())


def test_an_identity_that_cannot_be_read(checkpoint_body):
    row = read_row(checkpoint_body("x", identity={"model": ""}))
    assert "cannot be read" in identity_view(row, WIDE).plain


def test_the_state_tells_message_failure_and_the_last_start(samples, frozen_now):
    failed = state_view(read_row(samples[2]), frozen_now, 200).plain
    assert "DeadlineExceeded" in failed
    assert "not ready within 3600 s" in failed
    cold = state_view(read_row(samples[4]), frozen_now, 200).plain
    assert "❄ cold in 52.6s" in cold
    assert "pages-3.img has a wrong digest" in cold
    busy = state_view(read_row(samples[1]), frozen_now, 200).plain
    assert "dump, 39.1Gi of 86.6Gi (45%), 1.8 GB/s, 28.0s left" in busy


def test_the_artifact_tells_where_it_is_and_how_large(llama, samples, frozen_now):
    text = artifact_view(llama, frozen_now, 200).plain
    for part in ("/checkpoints/4f2c9e1ab0d37788", "pvc", "18Gi  in 431 files", "gpu-a-01", "9f9f"):
        assert part in text
    assert "none yet" in artifact_view(read_row(samples[1]), frozen_now, 200).plain


def test_conditions_have_a_glyph_a_state_and_a_reason(llama, frozen_now):
    lines = conditions_view(llama.checkpoint.status.conditions, frozen_now, 200).plain.split("\n")
    assert lines[1] == "✓ JobCreated  True for 5h  JobCreated: Job checkpoint-llama"
    assert lines[3].startswith("✗ NameIsHash  False")


def test_wrapped_values_hang_under_their_beginning(llama):
    lines = identity_view(llama, 50).plain.split("\n")
    start = next(index for index, line in enumerate(lines) if line.startswith("Hashed JSON"))
    assert all(line.startswith(" " * 14) for line in lines[start + 1 :])
    assert max(map(len, lines)) <= 50


def test_the_timeline_compares_and_accounts_for_every_second(llama):
    lines = timeline_view(llama.checkpoint, {}, WIDE).plain.split("\n")
    cold, restored = (next(line for line in lines if line.startswith(name)) for name in ("cold start", "last restore"))
    assert cold.count("█") > 10 * restored.count("█")
    assert "13.8x faster" in restored
    assert sum(1 for line in lines if line.startswith("unaccounted")) == 2
    assert any("0.6 GB/s" in line for line in lines)
    assert max(map(len, lines)) <= WIDE


def test_phases_that_move_bytes_tell_their_speed_and_how_near_it_is_to_what_the_node_can_do(rich_samples):
    checkpoint = read_row(rich_samples[0]).checkpoint
    nodes = {"gpu-a-02": Ceilings(copy_bytes_per_second=24 * 10**9, hash_bytes_per_second=10**10)}
    lines = timeline_view(checkpoint, nodes, WIDE).plain.split("\n")
    fill = next(line for line in lines if line.startswith("fill"))
    assert fill.endswith("5.0 GB/s   50% of hashing")
    assert fill.count("█") == pytest.approx(fill.count("▒"), abs=1)
    assert "The node at best: memory copy 24.0 GB/s, hashing 10.0 GB/s" in lines
    captured = next(line for line in lines if line.startswith("dump"))
    assert "GB/s" in captured
    assert "of hashing" not in captured
    assert max(map(len, lines)) <= WIDE


def test_what_of_an_artifact_is_shared(rich_samples, frozen_now):
    checkpoint = read_row(rich_samples[0]).checkpoint
    lines = contents_view(checkpoint, frozen_now, 120).plain.split("\n")
    start = lines.index("18Gi of content in the store, in 12 packs")
    told = [line.replace("━", "").replace("╸", "").replace("┄", "").split() for line in lines[start + 1 : start + 4]]
    assert [" ".join(line) for line in told] == [
        "of its own 6Gi 33% would return",
        "shared 5Gi 28% other checkpoints have it too",
        "needs no room 7Gi 39% zeros, repeats, compression",
    ]


def test_the_timeline_of_a_capture_under_way(samples):
    text = timeline_view(read_row(samples[1]).checkpoint, {}, WIDE).plain
    assert "Capture under way: dump" in text
    assert "45%  1.8 GB/s  28.0s left" in text


def test_a_timeline_without_measurements_says_so(samples):
    assert "Nothing has been measured" in timeline_view(read_row(samples[3]).checkpoint, {}, WIDE).plain


@pytest.mark.parametrize(
    ("counted", "expected"),
    [({}, "artifacts not counted yet"), ({"artifacts": 0}, "0 artifacts"), ({"artifacts": 1}, "1 artifact")],
)
def test_artifacts_that_nobody_has_counted_are_not_none(frozen_now, counted, expected):
    node = read_node({"metadata": {"name": "n"}, "status": {"store": {"type": "s3", "location": "s3://bucket", **counted}}})
    assert f"s3 s3://bucket, {expected}\n" in node_view(node, frozen_now, WIDE).plain
    [store] = storage_view(Group("s3", "m", ()), [node.status.store], WIDE).plain.splitlines()[-1:]
    assert store.endswith(f" {expected}, size not known")


def test_pods_tell_how_and_why_they_started(source, frozen_now):
    cells = [
        {column.id: cell.text for column, cell in zip(POD_COLUMNS, pod_cells(read_pod(body), frozen_now), strict=True)}
        for body in source.pods
    ]
    capture, restored, cold, starting = cells
    assert (capture["role"], capture["status"], capture["ready"]) == ("source", "Completed", "0/1")
    assert (restored["role"], restored["start"], restored["seconds"]) == ("target", "✓ restored", "6.1s")
    assert (cold["start"], cold["why"]) == ("❄ cold", "the GPU is an A100, the capture is of an H200")
    assert (starting["status"], starting["start"], starting["age"]) == ("ContainerCreating", "-", "4s")


@pytest.mark.parametrize("startup", ["", "{", "[1]", "null", '"x"', '{"seconds": NaN}', '{"seconds": "6"}', '{"result": ["x"]}'])
def test_any_startup_annotation_makes_a_pod(pod_body, frozen_now, startup):
    pod = read_pod(pod_body("p", startup=startup))
    assert pod.seconds == 0.0
    assert len(pod_cells(pod, frozen_now)) == len(POD_COLUMNS)


def test_an_annotation_that_is_no_json_is_told_as_such(pod_body):
    pod = read_pod(pod_body("p", startup="restored!"))
    assert (pod.result, pod.why) == ("unreadable", "not a JSON object: restored!")


@pytest.mark.parametrize(
    ("status", "metadata", "expected"),
    [
        ({"phase": "Pending", "containerStatuses": []}, {}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted", "containerStatuses": []}, {}, "Evicted"),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}, {}, "ImagePullBackOff"),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Error"}}}]}, {}, "Error"),
        ({}, {"deletionTimestamp": "2026-03-04T11:00:00Z"}, "Terminating"),
        ({"initContainerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}]}, {}, "Running"),
    ],
)
def test_a_pods_status_is_kubectls_word(pod_body, status, metadata, expected):
    body = pod_body("p", status=status)
    body["metadata"] |= metadata
    assert read_pod(body).status == expected


def test_events_are_newest_first_and_said_once(source, frozen_now):
    text = events_view([*source.event_list, *source.event_list], frozen_now, WIDE).plain
    assert [line.split()[2] for line in text.split("\n")[::2]] == ["ColdStart", "CaptureSucceeded", "CaptureStarted"]
    assert "the GPU is an A100 [nvidia.com/gpu]" in text
    assert "x2" in text


def test_an_event_of_a_newer_writer_has_its_own_time(event_body, frozen_now):
    event = event_body("e", "Captured", "done") | {"lastTimestamp": None, "eventTime": "2026-03-04T11:59:00.000000Z"}
    assert events_view([event], frozen_now, WIDE).plain.startswith("   60s  ● Captured")


def test_yaml_is_kubectls_without_managed_fields(samples):
    samples[0]["metadata"]["managedFields"] = [{"manager": "x"}]
    text = to_yaml(samples[0])
    assert text.startswith("apiVersion: nvidia.com/v1alpha1\nkind: DynamoCheckpoint\nmetadata:\n  name: llama-3-8b\n")
    assert "managedFields" not in text
    assert document_view(samples[0]).plain.rstrip() == text.rstrip()


def test_a_huge_object_is_shown_without_colours(samples):
    samples[0]["metadata"]["annotations"] = {"x": json.dumps(["[red]"] * 30_000)}
    assert not document_view(samples[0]).spans


def test_the_banner_counts_by_phase(samples):
    text = facts(
        counts(Counter(read_row(body).phase for body in samples)), namespace="all", shown=2, total=5, filtered=True, marked=1
    ).plain
    assert text == "all  filter 2/5  1 marked  ○ 1 Pending  ◐ 1 Creating  ● 2 Ready  ✗ 1 Failed"


def test_the_banner_says_whether_the_list_is_current(frozen_now):
    def told(**given):
        return state(**({"synced": True, "outage": None, "read_only": False, "now": frozen_now} | given)).plain

    outage = Outage(frozen_now, "refused", frozen_now)
    assert told() == "● live"
    assert told(synced=False) == "◌ loading"
    assert told(read_only=True) == "read-only  ● live"
    assert told(outage=outage) == "▲ stale since 0s, retry in 0s"
    assert told(outage=outage, synced=False) == "▲ no answer since 0s, retry in 0s"

"""Rows are read without models; where these would read something else, or nothing at all, they are asked."""

from datetime import UTC, datetime

import pytest
from tui_samples import make_checkpoint, ready_status, sample_checkpoints

from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.tui.views.reading import read_row

READY = make_checkpoint("x", status=ready_status(caches=[{"node": "gpu-a-02", "bytes": 1}, {"node": "gpu-a-01"}]))
ANNOTATED = make_checkpoint("x", metadata={"annotations": {names.ANNOTATION_DELETE_AFTER: "2026-03-04T13:00:00Z"}})
PINNED = make_checkpoint("x", metadata={"annotations": {names.ANNOTATION_PIN: "by me"}, "labels": {"team": "search"}})


def changed(body, path, value):
    """The object with another value at a path."""
    first, _, rest = path.partition(".")
    return {**body, first: changed(body.get(first, {}), rest, value) if rest else value}


@pytest.mark.parametrize("body", [*sample_checkpoints(), READY, ANNOTATED, PINNED])
def test_a_row_says_what_the_model_of_all_fields_says(body):
    row, model = read_row(body), read_checkpoint(body)
    again = read_row(model.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert (again.cells, again.created, again.size, again.message) == (row.cells, row.created, row.size, row.message)
    assert row.checkpoint == model
    assert row.created == model.metadata.creation_timestamp
    assert row.size == (model.status.artifact.bytes if model.status.artifact else None)
    assert row.message == (model.status.failure or model.status.message)
    assert row.labels == model.metadata.labels


@pytest.mark.parametrize(
    ("path", "value", "cell"),
    [
        ("status.restores", "12", "12"),
        ("status.coldStarts", 3.0, "3"),
        ("status.artifact.bytes", "1024", "1Ki"),
        ("status.artifact.coldStartSeconds", "61", "61s"),
        ("status.artifact.uniqueBytes", 2048.0, "2Ki"),
        ("status.caches", [{"node": ""}], "gpu-a-01,"),
        ("status.verification", {"result": "corrupt"}, "✗ corrupt"),
        ("status.verification", {"result": "running"}, "◐ verifying"),
    ],
)
def test_what_passes_for_a_value_is_shown(path, value, cell):
    assert cell in [found.text for found in read_row(changed(READY, path, value)).cells]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.labels", None),
        ("metadata.creationTimestamp", "yesterday"),
        ("status.artifact", {}),
        ("status.artifact.node", 7),
        ("status.lastRestore", "long ago"),
        ("status.caches", [{}]),
        ("status.caches", ["gpu"]),
        ("status.restores", "many"),
        ("status.message", 5),
        ("status", None),
    ],
)
def test_what_cannot_be_read_is_told_in_the_row(path, value):
    row = read_row(changed(READY, path, value))
    assert row.message.startswith("This object cannot be read")
    assert row.checkpoint.status.message == row.message
    assert row.name == "x"


def test_an_object_is_kept_without_what_nobody_looks_at():
    body = make_checkpoint("x", metadata={"managedFields": [{"manager": "kubectl"}]})
    row = read_row(body)
    del body["metadata"]["managedFields"]
    assert row.body == body
    assert row.body is row.body


def test_a_time_without_a_zone_is_taken_for_utc():
    assert read_row(make_checkpoint("x", created="2026-03-04T12:00:00")).created == datetime(2026, 3, 4, 12, tzinfo=UTC)

"""Events and merge patches as they leave."""

from datetime import UTC, datetime

from chrek_operator.actions import Tell
from chrek_operator.draft import merge_patch
from chrek_operator.execution import event_body

ABOUT = {"apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoCheckpoint", "metadata": {"name": "x", "uid": "u"}}
NOW = datetime(2026, 1, 29, tzinfo=UTC)


def test_a_merge_patch_says_only_what_differs():
    current = {"a": 1, "gone": 1, "nested": {"same": 1, "gone": 2, "changed": 3}, "list": [1]}
    wanted = {"a": 1, "nested": {"same": 1, "changed": 4}, "list": [2], "new": {}}
    assert merge_patch(current, wanted) == {"gone": None, "nested": {"gone": None, "changed": 4}, "list": [2], "new": {}}
    assert merge_patch(wanted, wanted) == {}


def test_an_event_is_named_by_what_it_tells():
    name = event_body(Tell(ABOUT, "R", "m", "1"), "ns", NOW)["metadata"]["name"]
    assert event_body(Tell(ABOUT, "R", "m", "1"), "ns", NOW)["metadata"]["name"] == name
    assert event_body(Tell(ABOUT, "R", "m", "2"), "ns", NOW)["metadata"]["name"] != name
    assert name.startswith("x.")


def test_a_long_message_is_cut_to_what_the_server_takes():
    event = event_body(Tell(ABOUT, "R", "m" * 5000, "1", warning=True), "ns", NOW)
    assert len(event["message"]) == 1024
    assert event["type"] == "Warning"

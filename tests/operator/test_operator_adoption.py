"""A checkpoint whose artifact was imported: no Job is made for it."""

from kubectl_chrek.api import names


def test_an_imported_artifact_is_waited_for_and_nothing_is_captured(make_world):
    world = make_world()
    world.checkpoint["metadata"]["annotations"] = {names.ANNOTATION_ADOPT: "{}"}
    world.settle()
    assert world.job is None
    assert (world.status["phase"], world.status["message"]) == ("Pending", "waiting for an agent to verify the imported artifact")
    world.write_artifact()
    world.settle()
    assert world.status["phase"] == "Ready"
    assert world.job is None


def test_one_that_was_not_adopted_has_failed(make_world):
    world = make_world()
    world.checkpoint["metadata"]["annotations"] = {names.ANNOTATION_ADOPT: "{}"}
    world.settle()
    world.checkpoint["status"]["failure"] = "chunk 1 has changed"
    world.settle()
    assert world.job is None
    assert world.status["phase"] == "Failed"
    assert world.status["message"] == "the imported artifact was not adopted: chunk 1 has changed"
    assert world.condition("TarAvailable") == ("False", "ArtifactMissing")


def test_once_it_may_be_adopted_a_retry_asks_for_it_again(make_world):
    world = make_world()
    annotations = world.checkpoint["metadata"]["annotations"] = {names.ANNOTATION_ADOPT: "{}"}
    world.settle()
    world.checkpoint["status"]["failure"] = "it belongs to another namespace"
    world.settle()
    assert world.status["phase"] == "Failed"
    annotations |= {names.ANNOTATION_RETRY: "1"}
    world.checkpoint["metadata"]["annotations"] = annotations
    world.settle()
    assert (world.status["phase"], world.job) == ("Pending", None)
    assert "failure" not in world.status
    assert names.ANNOTATION_ADOPT in world.checkpoint["metadata"]["annotations"]


def test_without_the_annotation_it_is_captured(make_world):
    world = make_world()
    world.settle()
    assert world.job is not None

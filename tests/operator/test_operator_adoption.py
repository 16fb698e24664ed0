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


def test_without_the_annotation_it_is_captured(make_world):
    world = make_world()
    world.settle()
    assert world.job is not None

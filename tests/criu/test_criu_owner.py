"""A checkpoint's status can be written by whoever may in its namespace: it must not lead to another namespace's memory."""

import asyncio

import pytest
from light_container import until

from chrek_agent.errors import RestoreError

WORKER = ["/bin/sh", "-c", "echo begun; while :; do sleep 0.05; done"]


def test_another_namespaces_artifact_is_refused_before_anything_is_touched(yard, agent):
    with yard.source(WORKER) as box:
        until(lambda: "begun" in box.output())
        artifact = agent.capture(box)
    with yard.target(WORKER) as box:
        with pytest.raises(RestoreError, match="belongs to another namespace"):
            asyncio.run(agent.restoring(box.container, artifact, "elsewhere"))
        assert box.others() == []
        asyncio.run(agent.restoring(box.container, artifact, "light"))
        assert box.others() != []

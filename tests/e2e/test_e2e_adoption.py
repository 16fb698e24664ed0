"""An artifact that is in the store already becomes another checkpoint's own: nothing is captured, and pods are restored from it."""

import json

from kubectl_chrek.api import names
from kubectl_chrek.cluster.resources import CHECKPOINTS, JOBS


async def test_an_adopted_artifact_outlives_the_one_that_it_was(lab):
    captured = await lab.settled(await lab.prewarm("probe/adopted"))
    artifact = captured.status.artifact
    assert artifact.inventory.process_count >= 1
    assert any(":8000 listening" in socket for socket in artifact.inventory.sockets)
    assert artifact.phase_bytes["verify"] > 0

    name = f"{captured.metadata.name}-adopted"
    wanted = {"generation": artifact.generation, "digest": artifact.digest}
    body = {"apiVersion": CHECKPOINTS.api_version, "kind": CHECKPOINTS.kind, "spec": captured.spec}
    body["metadata"] = {"name": name, "annotations": {names.ANNOTATION_ADOPT: json.dumps(wanted)}}
    await lab.cluster.create(CHECKPOINTS, body)
    adopted = await lab.settled(name)
    assert adopted.phase == "Ready", adopted.status.message
    assert adopted.status.artifact.generation != artifact.generation
    assert adopted.status.artifact.inventory == artifact.inventory
    assert not [job for job in await lab.cluster.list(JOBS) if job["metadata"]["name"] == names.job_name(name)]

    await lab.cluster.delete(CHECKPOINTS, captured.metadata.name)
    await lab.until(
        CHECKPOINTS,
        lambda found: (
            found["metadata"]["name"] == name and names.ANNOTATION_ADOPT not in (found["metadata"].get("annotations") or {})
        ),
    )
    await lab.graph(name)
    pod = await lab.ready_pod(name)
    assert lab.startup(pod)["result"] == "restored", lab.startup(pod)

"""Operator and agent are processes here, and pods to all who look for them: the plugin's verbs work as on any cluster."""

from datetime import datetime

import pytest

from kubectl_chrek import __version__
from kubectl_chrek.cluster.execution import CommandError, execute
from kubectl_chrek.cluster.resources import PODS
from kubectl_chrek.ops.agents import find_agent
from kubectl_chrek.ops.copying import copy
from kubectl_chrek.ops.operators import Operator, find_operators


async def test_the_agent_copies_an_artifact_where_it_is_told(lab, tmp_path):
    checkpoint = await lab.settled(await lab.prewarm("probe/copied"))
    answer = await copy(lab.cluster, checkpoint, str(tmp_path / "store"), namespace="n", progress=lambda *_: None)
    assert answer["chunks"] > 0
    assert (tmp_path / "store" / answer["artifact"] / "manifest.json").exists()


async def test_they_are_found_and_tell_what_they_log_and_run_nothing_else(lab):
    image = f"localhost/chrek-operator:{__version__}"
    assert await find_operators(lab.cluster) == [Operator("chrek", image, available=True)]
    agent = await find_agent(lab.cluster)
    assert (agent.namespace, agent.pod, agent.store) == ("chrek", "chrek-agent-local", str(lab.store))
    lines = [line async for line in lab.cluster.log_lines(agent.pod, agent.namespace, tail=3)]
    assert len(lines) == 3
    for line in lines:
        at, _, text = line.partition(" ")
        assert datetime.fromisoformat(at).tzinfo
        assert not text.startswith("20"), "a time is told once"
    async with execute(lab.cluster, agent.pod, agent.namespace, agent.container, ["sh", "-c", "true"]) as execution:
        with pytest.raises(CommandError, match="is a process of this machine: it runs nothing but chrek-agent") as refused:
            await anext(execution.read())
    assert refused.value.code == 126
    await lab.cluster.delete(PODS, "chrek-operator-local", "chrek")
    assert [pod["metadata"]["name"] for pod in await lab.cluster.list(PODS, "chrek")] == ["chrek-agent-local"]

"""`export` and `import` through agent pods of an embedded API server, whose commands run right here on stores of their own."""

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
import yaml

from chrek_agent.store.chunking import CHUNK
from chrek_agent.store.model import Fields, Owner, Source
from chrek_agent.store.store import Store
from chrek_agent.tasks.adoption import Adopter, is_asked
from chrek_agent.tasks.report import Reporter
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.api.errors import NotFoundError
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import CHECKPOINTS, PODS
from kubectl_chrek.local.apiserver import ApiServer

pytestmark = pytest.mark.cluster

CONTENT = os.urandom(12 * CHUNK + 77)
SPEC = {
    "identity": {"model": "m", "backendFramework": "vllm"},
    "job": {"podTemplateSpec": {"spec": {"containers": [{"name": "main", "image": "i"}]}}},
}
HASH = read_checkpoint({"metadata": {"name": "x"}, "spec": SPEC}).hash


class Commands:
    """Runs the commands of containers as processes of ours; some are cut off after a number of bytes, on their way in or out."""

    def __init__(self):
        self.ran, self.cut_output, self.cut_input = [], [], []

    async def __call__(self, _namespace, _pod, _container, command):
        assert command[0] == "chrek-agent"
        self.ran.append(command[1:])
        pipe = asyncio.subprocess.PIPE
        words = [sys.executable, "-m", "chrek_agent", *command[1:]]
        if command[1] in ("export", "copy") and self.cut_output:
            words = ["sh", "-c", f'"$@" | head -c {self.cut_output.pop(0)}; kill -9 $$', "sh", *words]
        elif command[1] == "import" and "--ask" not in command and self.cut_input:
            words = ["sh", "-c", f'head -c {self.cut_input.pop(0)} | "$@"', "sh", *words]
        return await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)


def commit(store, uid):
    with store.begin("g-1") as writer:
        (store.scratch.parent / "file").write_bytes(CONTENT)
        writer.add_file("rootfs.tar", store.scratch.parent / "file")
        source = Source(node="n", pod="p", container="main", image="", image_id="", worker=1, pids=[], pipes={})
        owner = Owner(namespace="default", name="cp", uid=uid)
        now = datetime(2026, 1, 1, tzinfo=UTC)
        rest = {"source": source, "compatibility": {}, "deleted": []}
        return writer.commit(Fields(identity_hash=HASH, identity=SPEC["identity"], created_at=now, owner=owner, **rest))


class Site:
    """A cluster with one agent pod, and its store."""

    def __init__(self, cluster, server, store, directory):
        self.cluster, self.store, self.directory = cluster, store, directory
        self.commands = server.exec = Commands()
        self.kubeconfig = str(server.kubeconfig)

    async def agent(self, node="n"):
        labels = {"app.kubernetes.io/name": "chrek-agent"}
        args = ["--base-path=/elsewhere", "--base-path", str(self.directory)]
        spec = {"nodeName": node, "containers": [{"name": "agent", "image": "x", "args": args}]}
        await self.cluster.create(PODS, {"metadata": {"name": f"agent-{node}", "labels": labels}, "spec": spec})
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await self.cluster.patch(PODS, f"agent-{node}", {"status": status}, subresource="status")

    async def ready(self):
        kind = {"apiVersion": CHECKPOINTS.api_version, "kind": CHECKPOINTS.kind}
        body = await self.cluster.create(CHECKPOINTS, {**kind, "metadata": {"name": "cp"}, "spec": SPEC})
        manifest, digest = commit(self.store, body["metadata"]["uid"])
        artifact = {"generation": "g-1", "digest": digest, "bytes": manifest.size, "node": "n"}
        status = {"phase": "Ready", "location": f"{self.directory}/{HASH}", "artifact": artifact}
        await self.cluster.patch(CHECKPOINTS, "cp", {"status": status}, subresource="status")

    async def chrek(self, *words):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kubectl_chrek", *map(str, words), "--kubeconfig", self.kubeconfig), stdout=pipe, stderr=pipe
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def sites(tmp_path):
    """Two clusters that share nothing."""
    found = []
    async with AsyncExitStack() as stack:
        for name in ("near", "far"):
            directory = tmp_path / name
            directory.mkdir()
            server = await stack.enter_async_context(ApiServer.start(directory, load_crds()))
            cluster = await stack.enter_async_context(Cluster.connect(kubeconfig=str(server.kubeconfig)))
            found.append(Site(cluster, server, Store.at(directory / "store"), directory / "store"))
            await found[-1].agent()
        await found[0].ready()
        yield found


async def test_a_checkpoint_moves_to_another_cluster(sites, tmp_path):
    near, far = sites
    file = tmp_path / "cp.chrek"
    code, out, err = await near.chrek("export", "cp", file)
    assert (code, out) == (0, ""), err
    assert err.startswith("cp: exporting\n")
    assert f"cp exported to {file}: 24Mi" in err
    assert not list(tmp_path.glob("*.partial"))

    code, out, err = await far.chrek("import", file, "--name", "llama", "--wait=false")
    assert (code, out) == (0, "dynamocheckpoint.nvidia.com/llama created\n"), err
    assert "13 of 13 chunks were new to the store, 24Mi" in err
    body = await far.cluster.get(CHECKPOINTS, "llama")
    assert body["spec"]["identity"]["model"] == "m"
    assert body["spec"]["job"]["podTemplateSpec"] == SPEC["job"]["podTemplateSpec"]
    assert is_asked(body, datetime.now(UTC))

    await Adopter(far.cluster, far.store, Reporter(far.cluster, "n")).handle(body)
    adopted = await far.cluster.get(CHECKPOINTS, "llama")
    artifact = adopted["status"]["artifact"]
    assert "annotations" not in adopted["metadata"]
    [manifest] = far.store.find(HASH, body["metadata"]["uid"])
    assert (manifest.generation, manifest.owner.name) == (artifact["generation"], "llama")
    with far.store.open(HASH, artifact["generation"], artifact["digest"]) as opened:
        (tmp_path / "out").mkdir()
        opened.materialise(tmp_path / "out")
    assert (tmp_path / "out" / "rootfs.tar").read_bytes() == CONTENT
    code, _, err = await far.chrek("import", file, "--name", "llama")
    assert (code, err.splitlines()[0]) == (1, "error: checkpoint llama exists")


async def test_a_lost_connection_costs_nothing_twice(sites, tmp_path):
    near, far = sites
    file = tmp_path / "cp.chrek"
    near.commands.cut_output = [5 * CHUNK]
    code, _, err = await near.chrek("export", "cp", file, "--raw")
    assert code != 0
    assert "error: agent agent-n on n: " in err
    code, _, err = await near.chrek("export", "cp", file, "--raw")
    assert code == 0, err
    skipped = [int(words[words.index("--skip") + 1]) if "--skip" in words else None for words in near.commands.ran]
    assert skipped == [None, 4]

    far.commands.cut_input = [6 * CHUNK]
    code, _, err = await far.chrek("import", file, "--wait=false")
    assert code == 1
    assert "ends before its end" in err
    with pytest.raises(NotFoundError):
        await far.cluster.get(CHECKPOINTS, "cp")
    code, _, err = await far.chrek("import", file, "--wait=false")
    assert code == 0, err
    assert "8 of 13 chunks were new to the store" in err


async def test_a_copy_in_another_store_is_adopted_there(sites, tmp_path):
    near, far = sites
    near.commands.cut_output = [10]
    code, _, err = await near.chrek("copy", "cp", far.directory)
    assert code == 1
    assert "error: agent agent-n on n: " in err
    code, out, err = await near.chrek("copy", "cp", far.directory, "--to-namespace", "default", "-o", "yaml")
    assert code == 0, err
    assert f"cp copied to {far.directory}: {HASH}/g-1-" in err
    body = await far.cluster.create(CHECKPOINTS, yaml.safe_load(out))
    assert is_asked(body, datetime.now(UTC))
    await Adopter(far.cluster, far.store, Reporter(far.cluster, "n")).handle(body)
    artifact = (await far.cluster.get(CHECKPOINTS, "cp"))["status"]["artifact"]
    far.store.verify(HASH, artifact["generation"], artifact["digest"])
    assert [found.owner.name for found in far.store.find(HASH, body["metadata"]["uid"])] == ["cp"]
    code, out, err = await near.chrek("copy", "cp", far.directory)
    assert (code, out) == (0, "")
    assert "nothing had to be sent" in err


async def test_what_cannot_be_done_is_one_line(sites, tmp_path):
    near, far = sites
    file = tmp_path / "cp.chrek"

    async def refused(site, *words):
        code, out, err = await site.chrek(*words)
        assert out == ""
        return code, next(line for line in err.splitlines() if line.startswith(("error:", "Error")))

    assert "No such file or directory" in (await refused(near, "export", "cp", tmp_path / "no" / "file"))[1]
    assert (await refused(near, "copy", "cp", "elsewhere"))[1].startswith("error: 'elsewhere' is no store")
    assert "is not understood" in (await refused(near, "copy", "cp", "ftp://elsewhere"))[1]
    near.store.delete(HASH, {"g-1"})
    assert await refused(near, "export", "cp", file) == (
        1, f"error: agent agent-n on n: there is no artifact {HASH}/g-1 in {near.directory} (name it as HASH or HASH/GENERATION)"
    )  # fmt: skip
    file.write_bytes(b"something else altogether")
    assert await refused(near, "export", "cp", file) == (1, f"error: {file} exists")
    assert "this is no artifact" in (await refused(far, "import", file))[1]
    assert json.dumps(far.commands.ran) == "[]"

"""Every verb that reads, in every format that it has, to the letter: the snapshots are the contract."""

from importlib import import_module

import pytest

from kubectl_chrek.cli.main import Chrek
from kubectl_chrek.cluster.resources import CHECKPOINTS, GRAPHS

CASES = (
    "ls used -o yaml",
    "describe used",
    "inspect used",
    "inspect used other -o yaml",
    "inspect empty",
    "diff used other",
    "diff used used",
    "df",
    "df --no-headers",
    "df -A -v",
    "df -n elsewhere",
    "compat",
    "compat -o wide -A",
    "compat --what-if kernel=6.1",
    "compat --what-if kernel=6.13,criu=5.0 -A --no-headers",
    "compat -n elsewhere",
    "doctor",
    "doctor --node old",
    "events",
    "events used",
    "events -A -o name",
    "events -n elsewhere",
    "logs used",
    "logs used --only job,worker --timestamps --no-prefix",
    "logs idle",
    "version --server",
    "hash --model m --framework vllm --dtype fp8 --extra a=b --explain",
    "hash --model m --framework vllm --explain -o json",
    "hash used dgd/llm/Worker cfb060f4d0539cab",
    "hash dgd/llm/Nobody",
    "hash nothing",
    "hash --diff used other",
    "hash --diff used dgd/llm/Worker",
    "hash --diff other idle -o json",
    "gc --all",
    "gc --unreferenced --keep-within 30m -v",
    "gc --incompatible --dry-run=client",
    "gc --max-bytes 1Gi --dry-run=client -A -v",
    "ls used idle -o jsonpath={.items[*].status.phase}",
    "ls used --show-labels -L a",
    "hash --model m --framework vllm --explain -o yaml",
    "hash --diff other idle -o yaml",
    "ls -o toml",
    "df -o wide",
)


WORDS = {
    "inspect": "inspect used",
    "diff": "diff used idle",
    "events": "events used",
    "prewarm": "prewarm --graph both",
    "pin": "pin idle --by me",
    "unpin": "unpin other idle",
    "verify": "verify used",
    "gc": "gc --all --yes",
    "undelete": "undelete marked",
    "copy": "copy used s3://bucket/prefix",
    "compat": "compat used",
    "hash": "hash --model m --framework vllm",
    "version": "version --server",
}
"""What has to stand beside the verb, where it does not stand alone."""
TEMPLATES = {"jsonpath=": "{..phase}", "custom-columns=": "NAME:.metadata.name,KIND:.kind,NONE:.none"}


def every_format():
    """Asked of the commands themselves: a verb, a format or a dry run that is new has no golden yet, and fails."""
    for verb, module in Chrek.modules.items():
        flags = {name: param for param in import_module(module).command.params for name in param.opts}
        kinds = str(flags["--output"].metavar).split("|") if "--output" in flags else []
        asked = [f" -o {kind}{TEMPLATES.get(kind, '')}" for kind in kinds]
        tried = [f" --dry-run={where}" for where in ("client", "server")] if "--dry-run" in flags else []
        yield from (f"{WORDS.get(verb, verb)}{dry}{form}" for dry in ["", *tried] for form in (["", *asked] if dry else asked))


def answer(result):
    """What a run of a command says, in one text."""
    return f"[{int(result.code)}]\n{result.out}---\n{result.err}"


@pytest.fixture
def agents(fleet, monkeypatch):
    """They do at once what they are asked for; one checkpoint is marked for deletion, and a graph wants one more."""
    pod = {"mainContainer": {"image": "i", "args": ["serve"]}}
    new = {"extraPodSpec": pod, "checkpoint": {"enabled": True, "identity": {"model": "new", "backendFramework": "vllm"}}}
    there = {"checkpoint": {"enabled": True, "checkpointRef": "used"}}
    fleet.put(GRAPHS, "both", spec={"services": {"New": new, "There": there}})
    monkeypatch.setattr("kubectl_chrek.cli.verifying.secrets.token_hex", lambda _: "n1")
    fleet.checkpoint("marked", phase="Ready", metadata={"annotations": {"nvidia.com/chrek-delete-after": "2026-01-31T13:00:00Z"}})
    used = fleet.objects[CHECKPOINTS.plural, "default", "used"]
    verified = {"nonce": "n1", "result": "ok", "bytes": 3 << 30, "bytesTotal": 4 << 30, "seconds": 2.0}
    fleet.changes.append(("MODIFIED", used | {"status": used["status"] | {"verification": verified}}))

    async def copy(*_, **__):
        return {"chunks": 3, "storedBytes": 3 << 20, "artifact": "h/g1", "digest": "d1", "fresh": True}

    monkeypatch.setattr("kubectl_chrek.ops.copying.copy", copy)


@pytest.mark.parametrize("words", every_format())
def test_format(chrek, agents, snapshot, words):
    assert answer(chrek(*words.split())) == snapshot


@pytest.mark.parametrize("words", CASES)
def test_output(chrek, fleet, snapshot, words):
    assert answer(chrek(*words.split())) == snapshot

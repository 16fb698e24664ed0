"""Artifacts that somebody has changed: none restores, none writes outside its directory, none ends the agent.

They are made from what a real capture has left in the store, whatever its format: every file, and every value of the manifest.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from light_agent import LightAgent
from light_container import HASH, until

from chrek_agent.errors import AgentError
from chrek_agent.store.store import Store

WORKER = ["/bin/sleep", "1000"]
PATHS = ["../../escaped", "/escaped", "..", ".", "", "a/../../escaped", "images/../../../escaped", "x\0y", "-1"]
HOSTILE = ["../../escaped", "", -1, 2**70, None, []]


@pytest.fixture(scope="module")
def original(yard, light_state):
    """A store with one artifact, and what is in it."""
    agent = LightAgent.at(light_state / "mutations")
    with yard.source(WORKER) as box:
        until(lambda: [process.name for process in box.others()] == ["sleep"])
        artifact = agent.capture(box)
    out = light_state / "mutations" / "original"
    read(agent.config.base_path, artifact.generation, artifact.digest, out)
    return agent, artifact, contents(out)


def read(base, generation, digest, out):
    """All that a restore reads: the files into a directory, and every chunk of memory."""
    out.mkdir()
    store = Store.at(base)
    with store.open(HASH, generation, digest) as found:
        found.materialise(out)
    store.verify(HASH, generation, digest)


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def flip(position):
    def change(path):
        content = bytearray(path.read_bytes())
        content[int(position * (len(content) - 1))] ^= 0x20
        path.write_bytes(content)

    return change


def cut(part):
    return lambda path: os.truncate(path, int(path.stat().st_size * part) if part < 1 else path.stat().st_size - 1)


def instead(make):
    def change(path):
        path.unlink()
        make(path)

    return change


CHANGES = {
    **{f"flip-{index}": flip(index / 11) for index in range(12)},
    **{f"cut-{part}": cut(part) for part in (0, 0.25, 0.5, 0.9, 1)},
    "longer": lambda path: path.write_bytes(path.read_bytes() + bytes(4096)),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "missing": Path.unlink,
    "link-to-a-secret": instead(lambda path: path.symlink_to("/etc/passwd")),
    "link-to-itself": instead(lambda path: path.symlink_to(path)),
    "directory": instead(Path.mkdir),
    "fifo": instead(os.mkfifo),
    "device": instead(lambda path: os.mknod(path, 0o020600, os.makedev(1, 5))),
}


def mutated(original, tmp_path, change):
    """What a restore would read of the store after a change; None when it is refused."""
    agent, artifact, _ = original
    base, out = tmp_path / "around" / "store", tmp_path / "around" / "out"
    shutil.copytree(agent.config.base_path, base)
    digest = change(base) or artifact.digest
    outside = sorted(path for path in tmp_path.rglob("*") if base not in path.parents and out not in path.parents)
    try:
        read(base, artifact.generation, digest, out)
        found = contents(out)
    except AgentError:
        found = None
    after = sorted(path for path in tmp_path.rglob("*") if base not in path.parents and out not in path.parents and path != out)
    assert after == outside
    shutil.rmtree(tmp_path / "around")
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_is_refused_or_changes_nothing(original, tmp_path, name):
    agent, _, expected = original
    files = sorted(path.relative_to(agent.config.base_path) for path in agent.config.base_path.rglob("*") if path.is_file())
    assert len(files) >= 3
    refused = 0
    for file in files:
        found = mutated(original, tmp_path, lambda base, file=file: CHANGES[name](base / file))
        assert found in (None, expected), file
        refused += found is None
    assert refused


def places(value, path=()):
    """Paths of all values in a JSON document."""
    yield path
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(min(len(value), 3)):
            yield from places(value[key], (*path, key))


def put(document, path, value):
    document = json.loads(json.dumps(document))
    if not path:
        return value
    home = document
    for key in path[:-1]:
        home = home[key]
    home[path[-1]] = value
    return document


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_a_manifest_that_was_made_up_writes_nowhere_else(original, tmp_path, value):
    """Its digest is made up too, as by somebody who may write both the store and the checkpoint's status."""
    agent, artifact, expected = original
    document = json.loads((agent.config.base_path / HASH / artifact.generation / "manifest.json").read_text())
    for place in places(document):
        found = mutated(original, tmp_path, _forge(artifact.generation, put(document, place, value)))
        assert found is None or found.keys() <= expected.keys(), place


@pytest.mark.parametrize("name", PATHS, ids=repr)
def test_a_file_with_a_made_up_name_is_refused(original, tmp_path, name):
    agent, artifact, _ = original
    document = json.loads((agent.config.base_path / HASH / artifact.generation / "manifest.json").read_text())
    document["files"][name] = next(iter(document["files"].values()))
    assert mutated(original, tmp_path, _forge(artifact.generation, document)) is None


@pytest.mark.parametrize("version", [0, 1, 3, 99, -1, "x", None])
def test_another_version_is_refused(original, tmp_path, version):
    agent, artifact, _ = original
    document = json.loads((agent.config.base_path / HASH / artifact.generation / "manifest.json").read_text())
    assert document["format"] == 2
    assert mutated(original, tmp_path, _forge(artifact.generation, document | {"format": version})) is None


def _forge(generation, document):
    def change(base):
        content = json.dumps(document).encode()
        (base / HASH / generation / "manifest.json").write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    return change


@pytest.mark.parametrize("pattern", [f"{HASH}/*/manifest.json", "packs/*.pack", "packs/*.index"])
def test_the_agent_refuses_it_and_the_container_is_as_before(original, yard, pattern):
    agent, artifact, _ = original
    (file,) = list(agent.config.base_path.glob(pattern))[:1]
    before = file.read_bytes()
    with yard.target(WORKER) as box:
        CHANGES["zeros"](file)
        try:
            with pytest.raises(AgentError):
                agent.restore(box, artifact)
        finally:
            file.write_bytes(before)
        assert box.others() == []
        assert not (box.control / "outcome").exists()
        assert agent.remains() == []
        assert agent.restore(box, artifact).pid == 1001

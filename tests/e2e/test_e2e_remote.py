"""A cluster whose artifacts are in a bucket, and whose agent keeps a part of what it has read: bounded, over its restarts."""

import contextlib
import os
import signal

from kubectl_chrek.cluster.resources import CHECKPOINTS, CHREK_NODES
from kubectl_chrek.local import remotes

QUOTA = 2 << 20
"""As the fixture has it: less than an artifact takes."""


PAGE, DIGEST = 4096, 32


def pieces(lab):
    """Sizes of what the cache holds."""
    with contextlib.suppress(FileNotFoundError):
        return [path.stat().st_size for path in (lab.state / "cache").rglob("*") if path.is_file()]


def kept(lab):
    found = pieces(lab)
    return None if found is None else sum(found)


async def test_what_restores_read_of_a_bucket_is_kept_within_bounds_over_a_restart(bucket_lab):
    lab = bucket_lab
    name = await lab.prewarm("probe/remote")
    checkpoint = await lab.settled(name)
    assert checkpoint.phase == "Ready", checkpoint.status.message
    assert checkpoint.status.location == f"s3://{remotes.BUCKET}/demo/{checkpoint.hash}"
    assert kept(lab) == 0  # Captures go past it.

    await lab.graph(name)
    first = await lab.ready_pod(name)
    assert lab.startup(first)["result"] == "restored", lab.startup(first)
    before = kept(lab)
    assert 0 < before <= QUOTA

    os.kill(lab.agent_pid(), signal.SIGKILL)
    # What was told before may be older than what it keeps now.
    node = await lab.until(CHREK_NODES, lambda body: body["status"].get("cache", {}).get("bytes") == before)
    assert node["status"]["cache"] == {"bytes": before, "quotaBytes": QUOTA, "hashes": node["status"]["cache"]["hashes"]}
    told = await lab.until(CHECKPOINTS, lambda body: body["metadata"]["name"] == name and body["status"].get("caches"))
    [copy] = told["status"]["caches"]
    assert copy["node"] == node["metadata"]["name"]
    # Told of in whole pages, which the cache does without.
    assert 0 < copy["bytes"] <= sum(-(-(size - DIGEST) // PAGE) * PAGE for size in pieces(lab))
    assert copy["bytes"] < copy["total"]

    await lab.graph(name)
    second = await lab.ready_pod(name, beside=frozenset({first["metadata"]["name"]}))
    assert lab.startup(second)["result"] == "restored", lab.startup(second)
    assert lab.ask(first)["token"] == lab.ask(second)["token"]
    assert 0 < kept(lab) <= QUOTA

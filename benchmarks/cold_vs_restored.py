"""Cold start against restore of the demo's worker: `python benchmarks/cold_vs_restored.py [RUNS] [OUT.json]`, as root.

One local cluster; each run starts the service's bare pod and then a pod from the capture, both timed from creation to Ready by the
same watch, one after the other. Medians and the ratio of each pair are printed and written as JSON.
"""

import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from kubectl_chrek.api import names
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import GRAPHS, PODS
from kubectl_chrek.local import demo, story


async def measure(kubeconfig: Path, runs: int) -> dict[str, object]:
    graph = demo.load_graph()
    name = graph["metadata"]["name"]
    rows = []
    async with Cluster.connect(kubeconfig=str(kubeconfig)) as cluster:
        await cluster.create(GRAPHS, story.with_replicas(graph, 0))
        checkpoint = await story.wait_checkpoint(cluster, lambda _: None)
        for number in range(runs):
            cold = await story.start_cold(cluster, graph)
            await gone(cluster, cold.pod)
            warm = await story.start_restored(cluster, name)
            pod = await story.reported(cluster, warm.pod)
            startup = json.loads(pod["metadata"]["annotations"][names.ANNOTATION_STARTUP])
            assert warm.answer.vector == cold.answer.vector, "the restored worker answers differently"
            rows.append({"cold": cold.seconds, "restored": warm.seconds, "phases": startup["phases"]})
            print(f"{number + 1}: cold {cold.seconds:.2f} s, restored {warm.seconds:.2f} s", file=sys.stderr)
            await cluster.patch(GRAPHS, name, {"spec": {"services": {story.SERVICE: {"replicas": 0}}}})
            await gone(cluster, warm.pod)
    artifact = checkpoint.status.artifact
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "machine": {"kernel": platform.release(), "cpus": len(os.sched_getaffinity(0))},
        "artifact_bytes": artifact.bytes if artifact else 0,
        "capture_seconds": artifact.capture_seconds if artifact else 0,
        "capture_phases": artifact.phases if artifact else {},
        "runs": rows,
        "median_cold": statistics.median(row["cold"] for row in rows),
        "median_restored": statistics.median(row["restored"] for row in rows),
        "median_ratio": statistics.median(row["cold"] / row["restored"] for row in rows),
    }


async def gone(cluster: Cluster, pod: str) -> None:
    """Ends a pod and waits until it has gone: the next start must not share the machine with it."""
    uid = (await cluster.get(PODS, pod))["metadata"]["uid"]
    await cluster.delete(PODS, pod)
    while any(item["metadata"]["uid"] == uid for item in await cluster.list(PODS)):
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    demo.check()
    with (
        tempfile.TemporaryDirectory(prefix="chrek-bench-", dir="/var/tmp") as state,
        demo.local_cluster(Path(state), keep=False) as kubeconfig,
    ):
        result = asyncio.run(measure(kubeconfig, runs))
    text = json.dumps(result, indent=1)
    print(text)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(text + "\n")


if __name__ == "__main__":
    main()

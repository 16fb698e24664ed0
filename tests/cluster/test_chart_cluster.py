"""The chart's objects, checked strictly by an API server, installed, upgraded and taken away."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kubectl_chrek.local.apiserver import ApiServer

pytestmark = pytest.mark.cluster

CHART = Path(__file__).parents[2] / "charts" / "chrek"


@pytest.fixture(scope="module")
def program():
    found = shutil.which("helm", path=os.pathsep.join((str(CHART.parents[1] / ".cache" / "bin"), os.environ["PATH"])))
    if found is None:
        pytest.skip("there is no helm in PATH: run scripts/install-kubectl")
    return found


@pytest.fixture
def call(tmp_path):
    """Runs a program against a server of this process, which goes on serving meanwhile; returns its output."""
    own = {f"HELM_{kind}_HOME": str(tmp_path / kind) for kind in ("CACHE", "CONFIG", "DATA")} | {
        "KUBECACHEDIR": str(tmp_path / "cache")
    }

    async def run(kubeconfig, *words):
        environment = os.environ | own | {"KUBECONFIG": str(kubeconfig)}
        command = [str(word) for word in words]
        done = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("settings", ["", "scope=namespace", "mode=integrate", "networkPolicy.enabled=true"])
async def test_every_object_is_accepted(kubectl, namespace, settings, program):
    command = [program, "template", "chrek", str(CHART), "-n", namespace, "--set", f"{settings},storage.pvc.size=1Gi".strip(",")]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done = await kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered)
    assert rendered.count("\nkind: ") == len(done.stdout.splitlines())
    assert done.stderr == ""


async def test_a_release_is_installed_upgraded_and_taken_away_without_its_volume(kubectl, cluster_config, namespace, call, program):
    async def helm(*words):
        await call(cluster_config, program, *words, "--namespace", namespace)

    async def names(kind):
        return (await kubectl("get", kind, "-l", "app.kubernetes.io/part-of=chrek", "-o", "name")).stdout.split()

    await helm("install", "chrek", CHART, "--set", "scope=namespace,storage.pvc.size=1Gi,agent.metricsPort=9191")
    assert await names("daemonset,deployment") == ["daemonset.apps/chrek-agent", "deployment.apps/chrek-operator"]
    await helm("upgrade", "chrek", CHART, "--reset-then-reuse-values", "--set", "operator.replicas=2")
    replicas = await kubectl("get", "deployment", "chrek-operator", "-o", "jsonpath={.spec.replicas}")
    ports = await kubectl("get", "daemonset", "chrek-agent", "-o", "jsonpath={..containerPort}")
    assert (replicas.stdout, ports.stdout) == ("2", "9191")
    await helm("uninstall", "chrek")
    assert await names("daemonset,deployment,role,rolebinding,serviceaccount,configmap") == []
    assert await names("pvc") == ["persistentvolumeclaim/chrek-pvc"]
    await helm("install", "chrek", CHART, "--set", "scope=namespace,storage.pvc.size=1Gi")  # It takes the claim over.
    await helm("uninstall", "chrek")


async def test_definitions_are_brought_up_to_date_as_install_md_says(tmp_path, call, program):
    """Helm installs those that are missing and changes none; `kubectl apply --server-side` does, though Helm has set the fields."""
    older, state = tmp_path / "chrek", tmp_path / "server"
    state.mkdir()
    shutil.copytree(CHART, older)
    path = older / "crds" / "dynamocheckpoints.yaml"
    definition = yaml.safe_load(path.read_text())
    columns = [column["name"] for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]]
    del definition["spec"]["versions"][0]["additionalPrinterColumns"][1:]
    path.write_text(yaml.safe_dump(definition))
    look = ("kubectl", "get", "crd", "dynamocheckpoints.nvidia.com", "-o", "jsonpath={..additionalPrinterColumns[*].name}")
    async with ApiServer.start(state) as server:
        await call(server.kubeconfig, program, "install", "chrek", older)
        await call(server.kubeconfig, program, "upgrade", "chrek", CHART)
        assert (await call(server.kubeconfig, *look)).split() == columns[:1]
        await call(server.kubeconfig, "kubectl", "apply", "--server-side", "--force-conflicts", "-f", CHART / "crds")
        assert (await call(server.kubeconfig, *look)).split() == columns

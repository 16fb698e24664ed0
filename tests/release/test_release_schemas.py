"""What the chart renders is valid, strictly, for each version of Kubernetes that it says it runs on; no cluster is asked.

The schemas are Kubernetes' own, as the package kubernetes-validate carries them.
"""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest
import yaml

jsonschema = pytest.importorskip("jsonschema", reason="needs kubernetes-validate: run make test")
referencing = pytest.importorskip("referencing", reason="needs kubernetes-validate: run make test")

CHART = Path(__file__).parents[2] / "charts" / "chrek"
VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
DEFINITIONS = "https://kubernetes.io/api/_definitions.json"
FOREIGN = {("monitoring.coreos.com/v1", "PodMonitor")}
STORES = {
    "pvc": ("storage.cache.size=100Gi", "storage.pvc.storageClass=fast"),
    "s3": (
        "storage.type=s3",
        "storage.s3.uri=s3://minio.example.com:9000/bucket/x?region=eu",
        "storage.s3.credentialsSecretRef=creds",
        "storage.caSecretRef=authority",
    ),
    "oci": ("storage.type=oci", "storage.oci.uri=oci://registry.example.com/x", "storage.oci.credentialsSecretRef=creds"),
}
EVERYTHING = {
    "image": {"registry": "registry.example.com", "pullSecrets": [{"name": "pull"}]},
    "podMonitor": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "exporter": {"enabled": True, "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "platform"}]},
    "storage": {
        "encryption": {"keySecretRef": "keys"},
        "signing": {"keySecretRef": "own", "trustedKeysSecretRef": "others", "required": True},
        "repairFrom": ["s3://bucket/x"],
    },
    **{
        program: {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}},
            "priorityClassName": "system-cluster-critical",
        }
        for program in ("agent", "operator")
    },
}
EVERYTHING["agent"]["serviceAccount"] = {"annotations": {"eks.amazonaws.com/role-arn": "arn:x"}}


def cases():
    """The flags of each way to install that differs in what is rendered."""
    yield []
    for scope, mode, webhook, store in product(("cluster", "namespace"), ("own", "integrate"), ("true", "false"), STORES):
        yield [f"scope={scope}", f"mode={mode}", f"operator.webhook.enabled={webhook}", *STORES[store]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """All objects that any of the cases renders, each once, and the chart's definitions."""
    program = shutil.which("helm", path=os.pathsep.join((str(CHART.parents[1] / ".cache" / "bin"), os.environ["PATH"])))
    if program is None:
        pytest.skip("there is no helm in PATH: run scripts/install-kubectl")
    everything = tmp_path_factory.mktemp("values") / "everything.yaml"
    everything.write_text(yaml.safe_dump(EVERYTHING))

    def render(flags):
        command = [program, "template", "chrek", str(CHART), "-n", "ns", "--include-crds", *flags]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    flags = [[word for setting in case for word in ("--set", setting)] for case in cases()]
    with ThreadPoolExecutor(2) as pool:
        outputs = set(pool.map(render, [*flags, ["-f", str(everything)]]))
    texts = {text for output in outputs for text in output.split("\n---\n") if text.strip()}
    bodies = [body for text in texts for body in yaml.load_all(text, Loader=yaml.CSafeLoader) if body]
    return list({json.dumps(body, sort_keys=True): body for body in bodies}.values())


def validators(version):
    """(apiVersion, kind) -> what tells of its violations."""
    package = Path(find_spec("kubernetes_validate").submodule_search_locations[0])
    content = json.loads((package / f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json").read_text())
    registry = referencing.Registry().with_resource(DEFINITIONS, referencing.Resource.from_contents(content))
    found = {}
    for name, schema in content["$defs"].items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            api_version = "/".join(filter(None, (kind["group"], kind["version"])))
            pointer = {"$ref": f"{DEFINITIONS}#/$defs/{name}"}
            found[api_version, kind["kind"]] = jsonschema.Draft202012Validator(pointer, registry=registry)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_is_rendered_is_valid(rendered, version):
    known = validators(version)
    kinds = {(body["apiVersion"], body["kind"]) for body in rendered}
    assert kinds - known.keys() == FOREIGN
    wrong = [
        f"{body['kind']} {body['metadata']['name']}: {error.json_path}: {error.message}"
        for body in rendered
        if (key := (body["apiVersion"], body["kind"])) in known
        for error in known[key].iter_errors(body)
    ]
    assert wrong == []
    pod = {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "imag": "x"}]}}}
    strange = {"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"selector": {"matchLabels": {"a": "b"}}, **pod}}
    assert ["imag" in error.message for error in known["apps/v1", "DaemonSet"].iter_errors(strange)] == [True]


def test_the_oldest_and_the_newest_are_those_of_the_chart():
    """Its kubeVersion refuses what is older, and nothing newer."""
    program = shutil.which("helm", path=os.pathsep.join((str(CHART.parents[1] / ".cache" / "bin"), os.environ["PATH"])))
    if program is None:
        pytest.skip("there is no helm in PATH: run scripts/install-kubectl")

    def accepts(version):
        command = [program, "template", str(CHART), "--kube-version", version]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    assert [version for version in ("1.28.15", "1.29.0-gke.1", *VERSIONS) if accepts(version)] == ["1.29.0-gke.1", *VERSIONS]

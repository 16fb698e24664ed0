"""The Helm chart: what it renders, and that its roles are what the programs are allowed by their own account."""

import itertools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from chrek_operator import rbac
from kubectl_chrek import __version__

CHART = Path(__file__).parents[2] / "charts" / "chrek"
CLUSTER_WIDE = {"chreknodes", "chreknodes/status", "nodes"}
WEBHOOK = {"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "clusterroles"}


def helm(*arguments, check=True):
    program = shutil.which("helm", path=os.pathsep.join((str(CHART.parents[1] / ".cache" / "bin"), os.environ["PATH"])))
    if program is None:
        pytest.skip("there is no helm in PATH: run scripts/install-kubectl")
    return subprocess.run([program, *arguments], check=check, capture_output=True, text=True)


def render(*settings, namespace="my-team"):
    flags = [word for setting in settings for word in ("--set", setting)]
    output = helm("template", "chrek", str(CHART), "-n", namespace, *flags).stdout
    return [document for document in yaml.load_all(output, yaml.CSafeLoader) if document]


def find(documents, kind, name):
    (found,) = (body for body in documents if body["kind"] == kind and body["metadata"]["name"] == name)
    return found


def names(documents, kind):
    return {body["metadata"]["name"] for body in documents if body["kind"] == kind}


def test_lint():
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART)).stdout


def test_all_that_is_released_has_one_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    page = (CHART.parents[1] / "docs" / "install.md").read_text()
    assert set(re.findall(r"chrek-(?:agent|operator):([0-9][\w.]*)", page)) == {__version__}


def test_the_guides_install_gives_what_the_guide_says():
    documents = render("storage.pvc.size=250Gi")
    claim = find(documents, "PersistentVolumeClaim", "chrek-pvc")
    assert claim["spec"]["resources"]["requests"]["storage"] == "250Gi"
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    agent = find(documents, "DaemonSet", "chrek-agent")["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in agent["containers"][0]["volumeMounts"]}
    assert mounts["store"] == "/checkpoints"
    assert {body["metadata"].get("namespace", "my-team") for body in documents} == {"my-team"}


@pytest.mark.parametrize(("scope", "mode"), itertools.product(("cluster", "namespace"), ("own", "integrate")))
def test_the_programs_command_lines_are_ones_they_know(scope, mode):
    from chrek_agent.main import parse
    from chrek_operator.__main__ import _parser

    documents = render(f"scope={scope}", f"mode={mode}")
    operator = find(documents, "Deployment", "chrek-operator")["spec"]["template"]["spec"]["containers"][0]
    options = _parser().parse_args(operator["args"])
    assert options.mode == mode
    assert options.namespace == (["all"] if scope == "cluster" else ["my-team"])
    assert options.webhook_port == (9443 if scope == "cluster" else None)
    agent = find(documents, "DaemonSet", "chrek-agent")["spec"]["template"]["spec"]["containers"][0]
    assert parse(agent["args"]).namespace == ("" if scope == "cluster" else "my-team")


def rules(documents, program):
    """(group, resource, verb, name) of all that a program's roles allow."""
    found = set()
    for kind in ("ClusterRole", "Role"):
        for body in documents:
            if body["kind"] == kind and body["metadata"]["name"].startswith(f"chrek-{program}"):
                for rule in body["rules"]:
                    keys = (rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""]))
                    found |= set(itertools.product(*keys))
    return found


@pytest.mark.parametrize("mode", ["own", "integrate"])
def test_the_operators_role_is_what_it_says_it_needs(mode):
    wanted = set()
    for rule in (*rbac.CLUSTER, *rbac.OWN_NAMESPACE):
        if rule.mode in (None, mode):
            wanted |= set(itertools.product((rule.group,), (rule.resource,), rule.verbs, rule.only or ("",)))
    assert rules(render(f"mode={mode}"), "operator") == wanted
    namespaced = {rule for rule in wanted if rule[1] not in WEBHOOK}
    assert rules(render(f"mode={mode}", "scope=namespace"), "operator") == namespaced


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_no_role_has_a_wildcard_or_reaches_further_than_its_scope(scope):
    documents = render(f"scope={scope}")
    all_roles = [body for body in render(f"scope={scope}", "exporter.enabled=true") if body["kind"] in ("ClusterRole", "Role")]
    assert len(all_roles) > 3
    granted = [words for body in all_roles for rule in body["rules"] for words in rule.values()]
    assert not [words for words in granted if any("*" in word for word in words)]
    if scope == "namespace":
        wide = {
            rule for body in documents if body["kind"] == "ClusterRole" for entry in body["rules"] for rule in entry["resources"]
        }
        assert wide <= CLUSTER_WIDE
        assert names(documents, "ClusterRole") == {"chrek-operator-my-team", "chrek-agent-my-team"}


@pytest.mark.parametrize(
    ("setting", "sign"),
    [
        ("scope=planet", "/scope"),
        ("storage.pvc.size=large", "/storage/pvc/size"),
        ("storage.pvc.nmae=x", "nmae"),
        ("storage.type=floppy", "/storage/type"),
        ("operator.replicas=0", "/operator/replicas"),
        ("agent.metricsPort=99999", "/agent/metricsPort"),
    ],
)
def test_a_wrong_value_is_named(setting, sign):
    done = helm("template", "chrek", str(CHART), "--set", setting, check=False)
    assert done.returncode != 0
    assert sign in done.stderr


def test_what_is_switched_off_is_not_there():
    documents = render("agent.enabled=false", "operator.enabled=false", "storage.pvc.create=false")
    assert documents == []
    assert names(render("operator.webhook.enabled=false"), "Service") == set()


def test_the_operator_can_write_where_it_must():
    """Python wants a folder for temporary files, and kopf and TLS make some."""
    documents = render()
    pod = find(documents, "Deployment", "chrek-operator")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mounts["/tmp"]]["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize(("webhook", "probes"), [("true", [{"port": "webhook"}]), ("false", [])])
def test_the_service_leads_to_operators_that_serve(webhook, probes):
    operator = find(render(f"operator.webhook.enabled={webhook}"), "Deployment", "chrek-operator")
    containers = operator["spec"]["template"]["spec"]["containers"]
    assert [container["readinessProbe"]["tcpSocket"] for container in containers if "readinessProbe" in container] == probes


@pytest.mark.parametrize(("settings", "expected"), [((), None), (("agent.runtimeClassName=nvidia",), "nvidia")])
def test_the_agent_is_given_the_nodes_gpus_and_their_driver(settings, expected):
    agent = find(render(*settings), "DaemonSet", "chrek-agent")["spec"]["template"]["spec"]
    said = {entry["name"]: entry.get("value") for entry in agent["containers"][0]["env"]}
    assert said["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert said["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert agent.get("runtimeClassName") == expected


def test_all_nodes_can_be_meant():
    """`null` takes a default away. `helm upgrade --reuse-values` checks it as a value."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    for program in ("agent", "operator"):
        assert "null" in schema["properties"][program]["properties"]["nodeSelector"]["type"]
    agent = find(render("agent.nodeSelector=null"), "DaemonSet", "chrek-agent")
    assert "nodeSelector" not in agent["spec"]["template"]["spec"]
    notes = helm("install", "chrek", str(CHART), "--dry-run=client", "--set", "agent.nodeSelector=null").stdout
    assert "agents run on all nodes" in notes

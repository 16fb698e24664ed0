"""The real kubectl, against the embedded API server or a real one."""

import json
import re
from pathlib import Path

import pytest

from kubectl_chrek.cluster.resources import CHECKPOINTS, DEPLOYMENTS, EVENTS

pytestmark = pytest.mark.cluster

SEED = Path(__file__).with_name("seed.yaml").read_text()
NAME = "e5962d34ba272638"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      schedulerName: nobody
      containers: [{name: main, image: "example.invalid/main:1", env: [{name: A, value: "1"}]}]
"""


@pytest.fixture
def seed(namespace):
    return SEED.replace("dynamo-system", namespace)


@pytest.fixture
async def checkpoint(kubectl, seed):
    await kubectl("apply", "-f", "-", stdin=seed)
    return NAME


async def test_apply_creates_the_seeds_documents_and_then_finds_nothing_to_do(kubectl, seed):
    created = await kubectl("apply", "-f", "-", stdin=seed)
    assert created.stdout.splitlines() == [
        f"dynamocheckpoint.nvidia.com/{NAME} created",
        "dynamographdeployment.nvidia.com/my-llm created",
    ]
    again = await kubectl("apply", "-f", "-", stdin=seed)
    assert again.stdout.splitlines() == [
        f"dynamocheckpoint.nvidia.com/{NAME} unchanged",
        "dynamographdeployment.nvidia.com/my-llm unchanged",
    ]


async def test_apply_of_a_changed_document_configures_it(kubectl, seed, checkpoint, cluster):
    changed = await kubectl("apply", "-f", "-", stdin=seed.replace("backoffLimit: 3", "backoffLimit: 7"))
    assert f"dynamocheckpoint.nvidia.com/{NAME} configured" in changed.stdout
    body = await cluster.get(CHECKPOINTS, checkpoint)
    assert body["spec"]["job"]["backoffLimit"] == 7
    assert body["metadata"]["generation"] == 2


async def test_apply_refuses_an_unknown_field(kubectl, seed):
    refused = await kubectl("apply", "-f", "-", stdin=seed.replace("dtype:", "dtyp:"), check=False)
    assert refused.returncode == 1
    assert 'strict decoding error: unknown field "spec.identity.dtyp"' in refused.stderr


async def test_apply_on_the_server_side(kubectl, seed, cluster):
    for _ in range(2):
        applied = await kubectl("apply", "--server-side", "-f", "-", stdin=seed)
        assert f"dynamocheckpoint.nvidia.com/{NAME} serverside-applied" in applied.stdout
    assert (await cluster.get(CHECKPOINTS, NAME))["metadata"]["generation"] == 1


async def test_get_prints_the_seeds_columns(kubectl, checkpoint):
    header, row = (await kubectl("get", "dckpt")).stdout.splitlines()
    assert header.split() == ["NAME", "MODEL", "BACKEND", "PHASE", "HASH", "AGE"]
    assert row.split()[:3] == [NAME, "meta-llama/Meta-Llama-3-8B-Instruct", "vllm"]
    assert re.fullmatch(r"\d+s", row.split()[-1])


async def test_get_prints_name_and_phase_of_a_graph(kubectl, checkpoint):
    header, row = (await kubectl("get", "dgd")).stdout.splitlines()
    assert header.split() == ["NAME", "STATE", "AGE"]
    assert row.split()[0] == "my-llm"


async def test_get_as_json_and_by_name(kubectl, checkpoint):
    body = json.loads((await kubectl("get", "dckpt", NAME, "-o", "json")).stdout)
    assert body["kind"] == "DynamoCheckpoint"
    assert body["spec"]["identity"]["pipelineParallelSize"] == 1
    assert (await kubectl("get", "dckpt", "-o", "name")).stdout == f"dynamocheckpoint.nvidia.com/{NAME}\n"


async def test_describe_shows_the_spec_and_the_events(kubectl, cluster, namespace, checkpoint):
    body = await cluster.get(CHECKPOINTS, NAME)
    about = {"apiVersion": body["apiVersion"], "kind": body["kind"], "name": NAME, "namespace": namespace}
    about["uid"] = body["metadata"]["uid"]
    event = {"metadata": {"generateName": "note-"}, "involvedObject": about, "reason": "JobCreated", "message": "made a job"}
    await cluster.create(EVENTS, event | {"type": "Normal", "count": 1, "source": {"component": "test"}})
    text = (await kubectl("describe", "dckpt", NAME)).stdout
    assert re.search(r"^Kind: +DynamoCheckpoint$", text, re.MULTILINE)
    assert re.search(r"^ +Backend Framework: +vllm$", text, re.MULTILINE)
    assert re.search(r"Normal +JobCreated +.*test +made a job", text)
    assert "dynamocheckpoint/e5962d34ba272638" in (await kubectl("get", "events")).stdout


async def test_wait_for_a_value_in_the_status(kubectl, cluster, checkpoint):
    late = await kubectl("wait", "--for=jsonpath={.status.phase}=Ready", f"dckpt/{NAME}", "--timeout=1s", check=False)
    assert "timed out waiting for the condition" in late.stderr
    await cluster.patch(CHECKPOINTS, NAME, {"status": {"phase": "Ready"}}, subresource="status")
    met = await kubectl("wait", "--for=jsonpath={.status.phase}=Ready", f"dckpt/{NAME}", "--timeout=30s")
    assert met.stdout == f"dynamocheckpoint.nvidia.com/{NAME} condition met\n"


async def test_get_with_watch_follows_the_phase(kubectl_lines, cluster, checkpoint):
    async with kubectl_lines("get", "dckpt", "-w") as line:
        assert (await line()).split() == ["NAME", "MODEL", "BACKEND", "PHASE", "HASH", "AGE"]
        assert (await line()).split()[0] == NAME
        await cluster.patch(CHECKPOINTS, NAME, {"status": {"phase": "Creating"}}, subresource="status")
        assert (await line()).split()[3] == "Creating"


async def test_delete_waits_until_the_object_is_gone(kubectl, checkpoint):
    gone = await kubectl("delete", "dckpt", NAME)
    assert gone.stdout.startswith(f'dynamocheckpoint.nvidia.com "{NAME}" deleted')
    missing = await kubectl("get", "dckpt", NAME, check=False)
    assert missing.stderr == f'Error from server (NotFound): dynamocheckpoints.nvidia.com "{NAME}" not found\n'


async def test_patch_label_and_annotate(kubectl, cluster, checkpoint):
    await kubectl("patch", "dckpt", NAME, "--type=merge", "-p", '{"spec":{"job":{"backoffLimit":5}}}')
    await kubectl("patch", "dckpt", NAME, "--type=json", "-p", '[{"op":"test","path":"/spec/job/backoffLimit","value":5}]')
    await kubectl("label", "dckpt", NAME, "tier=gold")
    await kubectl("annotate", "dckpt", NAME, "note=kept for the night")
    metadata = (await cluster.get(CHECKPOINTS, NAME))["metadata"]
    assert metadata["labels"] == {"tier": "gold"}
    assert metadata["annotations"]["note"] == "kept for the night"
    assert NAME in (await kubectl("get", "dckpt", "-l", "tier=gold", "-o", "name")).stdout
    assert (await kubectl("get", "dckpt", "-l", "tier!=gold", "-o", "name")).stdout == ""


async def test_a_strategic_patch_of_a_custom_resource_is_refused(kubectl, checkpoint):
    refused = await kubectl("patch", "dckpt", NAME, "--type=strategic", "-p", '{"spec":{}}', check=False)
    assert "application/strategic-merge-patch+json is not supported by nvidia.com/v1alpha1" in refused.stderr


async def test_explain_a_field(kubectl):
    text = (await kubectl("explain", "dckpt.spec.identity")).stdout
    assert re.search(r"^  model\t<string> -required-$", text, re.MULTILINE)
    assert re.search(r"^  enum: vllm, sglang, trtllm$", text, re.MULTILINE)


async def test_api_resources_lists_our_kinds(kubectl):
    text = (await kubectl("api-resources", "--api-group=nvidia.com")).stdout
    assert ["dynamocheckpoints", "dckpt", "nvidia.com/v1alpha1", "true", "DynamoCheckpoint"] in [
        line.split() for line in text.splitlines()
    ]


async def test_auth_can_i(kubectl):
    assert (await kubectl("auth", "can-i", "delete", "dckpt")).stdout == "yes\n"


async def test_create_by_typed_commands(kubectl, namespace):
    await kubectl("create", "configmap", "settings", "--from-literal=a=b")
    assert (await kubectl("get", "configmap", "settings", "-o", "jsonpath={.data.a}")).stdout == "b"
    await kubectl("create", "secret", "generic", "token", "--from-literal=key=value")
    assert (await kubectl("get", "secret", "token", "-o", "jsonpath={.data.key}")).stdout == "dmFsdWU="
    made = await kubectl(
        "create", "job", "once", "--image=example.invalid/x:1", "--dry-run=server", "-o", "json", "--", "sleep", "1"
    )
    assert json.loads(made.stdout)["spec"]["template"]["spec"]["containers"][0]["command"] == ["sleep", "1"]


async def test_apply_and_scale_a_deployment(kubectl, cluster):
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    changed = await kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace('value: "1"', 'value: "2"'))
    assert changed.stdout == "deployment.apps/web configured\n"
    await kubectl("scale", "deployment/web", "--replicas=2")
    spec = (await cluster.get(DEPLOYMENTS, "web"))["spec"]
    assert spec["replicas"] == 2
    assert spec["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "2"}]
    assert (await kubectl("get", "deployment")).stdout.split()[:5] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]


async def test_set_env_merges_into_the_container(kubectl, cluster):
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    await kubectl("set", "env", "deployment/web", "B=2")
    await kubectl("set", "env", "deployment/web", "A-")
    containers = (await cluster.get(DEPLOYMENTS, "web"))["spec"]["template"]["spec"]["containers"]
    assert [container["env"] for container in containers] == [[{"name": "B", "value": "2"}]]


async def test_dry_run_on_the_server_changes_nothing(kubectl, seed):
    shown = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=seed)
    assert f"dynamocheckpoint.nvidia.com/{NAME} created (server dry run)" in shown.stdout
    assert (await kubectl("get", "dckpt", "-o", "name")).stdout == ""

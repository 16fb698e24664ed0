"""What the webhooks decide, without a server: patches, certificates, pods, objects."""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chrek_operator.admission.certificates import LIFE, RENEW_BEFORE, is_good, issue
from chrek_operator.admission.patching import json_diff
from chrek_operator.admission.pods import Request, read_request, recorded_command, untouched, with_shim
from chrek_operator.admission.registration import configurations
from chrek_operator.admission.review import Answer, Question, read_question, write_answer
from chrek_operator.admission.server import Webhooks
from chrek_operator.admission.validation import validate
from chrek_operator.binding import Binding
from chrek_operator.settings import Settings, Webhook
from kubectl_chrek.api import names
from kubectl_chrek.api.checkpoint import read_checkpoint
from kubectl_chrek.api.errors import ClusterError, UsageError
from kubectl_chrek.local.apiserver.patching import json_patch

HASH = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1, "dtype": "bfloat16"}
NOW = datetime(2026, 1, 29, tzinfo=UTC)
HOSTS = ("chrek-operator.system.svc", "127.0.0.1")
POD = {"metadata": {}, "spec": {"containers": [{"name": "main", "image": "i", "command": ["serve"]}]}}
SETTINGS = Settings()
INTEGRATE = Settings(mode="integrate")


def checkpoint(name=HASH, command=("serve",), *, phase="Ready", argv=None, **metadata):
    worker = {"name": "main", "image": "i"} | ({"command": list(command)} if command else {})
    spec = {"identity": IDENTITY, "job": {"podTemplateSpec": {"spec": {"containers": [worker]}}}}
    status = {"phase": phase}
    if phase == "Ready":
        status["artifact"] = {"generation": "g", "compatibility": {"argv": argv} if argv else {}}
    return read_checkpoint({"metadata": {"name": name, "uid": name, **metadata}, "spec": spec, "status": status})


def bound(found):
    return Binding(found.metadata.name, found.hash, found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab~/", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text("ab~/", max_size=2), json_values), st.dictionaries(st.text("ab~/", max_size=2), json_values))
def test_a_patch_turns_one_object_into_the_other(before, after):
    assert json_patch(before, json_diff(before, after)) == after


def test_a_certificate_is_good_until_it_is_to_be_renewed():
    pair = issue(HOSTS, NOW)
    assert is_good(pair, HOSTS, NOW)
    assert is_good(pair, HOSTS, NOW + LIFE - RENEW_BEFORE - timedelta(hours=1))
    assert not is_good(pair, HOSTS, NOW + LIFE - RENEW_BEFORE + timedelta(hours=1))
    assert not is_good(pair, ("elsewhere.svc",), NOW)


@pytest.mark.parametrize("part", ["certificate", "key", "authorities"])
def test_a_pair_that_does_not_belong_together_is_not_good(part):
    pair, other = issue(HOSTS, NOW), issue(HOSTS, NOW)
    assert not is_good(replace(pair, **{part: getattr(other, part)}), HOSTS, NOW)
    assert not is_good(replace(pair, **{part: b"nonsense"}), HOSTS, NOW)
    assert not is_good(replace(pair, **{part: b""}), HOSTS, NOW)


def test_the_former_authority_is_trusted_until_it_ends():
    first = issue(HOSTS, NOW)
    second = issue(HOSTS, NOW + timedelta(days=60), first.authorities)
    assert second.authorities.count(b"BEGIN CERTIFICATE") == 2
    third = issue(HOSTS, NOW + timedelta(days=120), second.authorities)
    assert third.authorities.count(b"BEGIN CERTIFICATE") == 2
    assert first.authorities.strip() not in third.authorities
    last = issue(HOSTS, NOW + timedelta(days=400), third.authorities)
    assert last.authorities.count(b"BEGIN CERTIFICATE") == 1


@pytest.mark.parametrize(
    ("metadata", "mode", "request_"),
    [
        ({}, SETTINGS, None),
        ({"annotations": {names.ANNOTATION_RESTORE_FROM: "x"}}, SETTINGS, Request(reference="x")),
        ({"annotations": {names.ANNOTATION_RESTORE_FROM: "x"}, "labels": {names.LABEL_RESTORE: "true"}}, SETTINGS, None),
        ({"annotations": {names.ANNOTATION_RESTORE_FROM: "x"}, "labels": {names.LABEL_SOURCE: "true"}}, SETTINGS, None),
        ({"labels": {names.LABEL_GRAPH: "g", names.LABEL_COMPONENT: "W"}}, SETTINGS, None),
        ({"labels": {names.LABEL_GRAPH: "../../other/g", names.LABEL_COMPONENT: "W"}}, INTEGRATE, None),
        ({"labels": {names.LABEL_GRAPH: "g", names.LABEL_COMPONENT: "W"}}, INTEGRATE, Request(graph="g", service="W")),
    ],
)
def test_what_a_pod_asks_for(metadata, mode, request_):
    assert read_request({"metadata": metadata}, mode) == request_


@pytest.mark.parametrize(
    ("found", "command"),
    [
        (checkpoint(argv=["captured", "--x"]), ["captured", "--x"]),
        (checkpoint(argv=["captured", "--api-key", "***"]), ["serve"]),
        (checkpoint(argv=["captured", "--api-key=***"], command=("templated",)), ["templated"]),
        (checkpoint(command=("templated",)), ["templated"]),
        (checkpoint(command=()), []),
    ],
)
def test_the_command_that_was_captured(found, command):
    assert list(recorded_command(found)) == command


@pytest.mark.parametrize(
    ("spec", "found", "why"),
    [
        ({"hostPID": True}, checkpoint(), "spec.hostPID is set"),
        ({"shareProcessNamespace": True}, checkpoint(), "spec.shareProcessNamespace is set"),
        ({}, checkpoint(phase="Failed"), f"checkpoint {HASH} is Failed: no reason given"),
        ({}, checkpoint("x" * 70), "has a name that is no label"),
    ],
)
def test_a_pod_that_could_not_be_restored_is_refused_the_shim(spec, found, why):
    with pytest.raises(UsageError, match=why):
        with_shim({**POD, "spec": POD["spec"] | spec}, bound(found), SETTINGS)


def test_nothing_in_a_pod_with_the_shim_needs_a_privilege():
    pod = with_shim(POD, bound(checkpoint()), SETTINGS)
    assert [next(key for key in volume if key != "name") for volume in pod["spec"]["volumes"]] == [
        "configMap",
        "emptyDir",
        "downwardAPI",
    ]
    assert not {"hostIPC", "hostPID", "hostNetwork", "securityContext"} & set(pod["spec"])
    assert not {"securityContext", "ports"} & set(pod["spec"]["containers"][0])


def test_an_untouched_pod_has_nothing_but_a_note():
    before = deepcopy(POD)
    noted = untouched(POD, "no such checkpoint")
    assert json_diff(before, noted) == [
        {"op": "add", "path": "/metadata/annotations", "value": {names.ANNOTATION_UNTOUCHED: "no such checkpoint"}}
    ]
    assert before == POD


def question(kind, new, old=None):
    return Question("u", kind, "UPDATE" if old else "CREATE", "ns", dry_run=False, new=new, old=old or {})


def raw(name=HASH, **container):
    worker = {"name": "main", "image": "i", "command": ["serve"], **container}
    spec = {"identity": IDENTITY, "job": {"podTemplateSpec": {"spec": {"containers": [worker]}}}}
    return {"apiVersion": names.API_VERSION, "kind": names.CHECKPOINT_KIND, "metadata": {"name": name}, "spec": spec}


def test_a_write_that_leaves_a_bad_spec_alone_is_not_refused():
    bad = raw(command=None)
    assert validate(question(names.CHECKPOINT_KIND, bad), [], SETTINGS).refusal
    labelled = {**bad, "metadata": {"name": HASH, "labels": {"a": "b"}}}
    assert validate(question(names.CHECKPOINT_KIND, labelled, bad), [], SETTINGS) == Answer()
    leaving = {**raw(), "spec": {"job": {}}, "metadata": {"name": HASH, "deletionTimestamp": "2026-01-29T10:00:00Z"}}
    assert validate(question(names.CHECKPOINT_KIND, leaving, bad), [], SETTINGS) == Answer()


def test_a_refusal_does_not_repeat_what_was_written():
    body = raw()
    body["spec"]["job"] = {"podTemplateSpec": "hf_secret"}
    refusal = validate(question(names.CHECKPOINT_KIND, body), [], SETTINGS).refusal
    assert refusal == "spec.job.podTemplateSpec: Input should be a valid dictionary"


def test_a_good_checkpoint_is_not_warned_about():
    assert validate(question(names.CHECKPOINT_KIND, raw()), [checkpoint()], SETTINGS) == Answer()
    assert validate(question(names.CHECKPOINT_KIND, raw("by-hand")), [], SETTINGS) == Answer()


@pytest.mark.parametrize("mode", [SETTINGS, INTEGRATE])
def test_all_that_is_wrong_with_a_graph_is_said_at_once(mode):
    services = {
        "A": {"checkpoint": {"enabled": True, "mode": "sometimes", "checkpointRef": "x"}},
        "B": {"checkpoint": {"enabled": True}},
        "C": {"checkpoint": {"enabled": True, "checkpointRef": "nowhere"}},
        "D": {"checkpoint": {"enabled": False, "mode": "sometimes"}},
        "E": {"checkpoint": {"enabled": True, "checkpointRef": "other/name"}},
    }
    body = {"metadata": {"name": "g"}, "spec": {"services": services}}
    answer = validate(question(names.GRAPH_KIND, body), [], mode)
    assert "A.checkpoint.mode: unknown mode 'sometimes'" in answer.refusal
    assert "B.checkpoint: give checkpointRef, or identity" in answer.refusal
    assert (
        "'other/name' cannot be the name of a DynamoCheckpoint (give the metadata.name of one in the same namespace)"
        in answer.refusal
    )
    assert "D" not in answer.refusal.replace("DynamoCheckpoint", "")
    body["spec"]["services"] = {"C": services["C"]}
    warned = validate(question(names.GRAPH_KIND, body), [], mode)
    assert warned.refusal == ""
    assert warned.warnings == ("service C: there is no DynamoCheckpoint nowhere yet: its pods start cold until it is Ready",)


def test_a_worker_of_several_pods_is_warned_of():
    services = {"W": {"multinode": {"nodeCount": 2}, "checkpoint": {"enabled": True, "identity": IDENTITY}}}
    answer = validate(question(names.GRAPH_KIND, {"metadata": {"name": "g"}, "spec": {"services": services}}), [], INTEGRATE)
    assert answer.refusal == ""
    assert answer.warnings == ("spec.services.W.multinode: a worker of 2 pods cannot be captured: they start cold",)


@pytest.mark.parametrize("review", [None, [], {}, {"request": 5}])
def test_what_is_no_question(review):
    with pytest.raises(ValueError, match="expected an AdmissionReview"):
        read_question(review)


def test_a_long_warning_is_cut_to_what_the_server_takes():
    answer = write_answer(question("Pod", {}), Answer(warnings=["w" * 1000]))
    assert len(answer["response"]["warnings"][0]) == 256


class Unreachable:
    """A cluster that is not there."""

    async def get(self, *_arguments, **_options):
        raise ClusterError("Unable to connect to the server")

    list = get


async def test_when_the_server_cannot_be_asked_the_pod_starts_as_it_is_and_says_so():
    asking = {**POD, "metadata": {"annotations": {names.ANNOTATION_RESTORE_FROM: HASH}}}
    answer = await Webhooks(Unreachable(), SETTINGS).mutate(question("Pod", asking))
    assert answer.refusal == ""
    assert [step["value"] for step in answer.patch] == ["Unable to connect to the server"]
    assert (await Webhooks(Unreachable(), SETTINGS).validate(question(names.CHECKPOINT_KIND, raw()))) == Answer()


@pytest.mark.parametrize("mode", [SETTINGS, INTEGRATE])
def test_the_webhooks_never_block_anything(mode):
    webhook = Webhook(namespace="system", exempt=("system",))
    (_, mutating), (_, validating) = configurations(mode, webhook, b"pem")
    hooks = mutating["webhooks"] + validating["webhooks"]
    assert {hook["failurePolicy"] for hook in hooks} == {"Ignore"}
    assert max(hook["timeoutSeconds"] for hook in hooks) <= 3
    for hook in mutating["webhooks"]:
        (term,) = hook["namespaceSelector"]["matchExpressions"]
        assert (term["operator"], term["values"]) == ("NotIn", ["kube-system", "system"])
        assert hook["rules"][0]["operations"] == ["CREATE"]
    assert len(mutating["webhooks"]) == (2 if mode is INTEGRATE else 1)
    assert hooks[0]["clientConfig"]["service"] == {"name": "chrek-operator", "namespace": "system", "path": "/mutate", "port": 443}

"""Built-in kinds: types, defaults, validation, subresources."""

import copy

import pytest

from kubectl_chrek.api.errors import ConflictError, NotFoundError, UsageError
from kubectl_chrek.cluster import Resource
from kubectl_chrek.cluster.resources import CONFIG_MAPS, DEPLOYMENTS, EVENTS, JOBS, NAMESPACES, PODS, REPLICA_SETS, SECRETS

pytestmark = pytest.mark.cluster

SERVICES = Resource("v1", "Service", "services")
MAIN = {"name": "main", "image": "example.invalid/x:1"}


def pod(**spec):
    return {"metadata": {"name": "p"}, "spec": {"schedulerName": "nobody", "containers": [copy.deepcopy(MAIN)]} | spec}


def job(**spec):
    template = {"spec": {"schedulerName": "nobody", "restartPolicy": "Never", "containers": [copy.deepcopy(MAIN)]}}
    return {"metadata": {"name": "j"}, "spec": {"suspend": True, "template": template} | spec}


def deployment(**spec):
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"schedulerName": "nobody", "containers": [copy.deepcopy(MAIN)]}}
    return {
        "metadata": {"name": "d"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "d"}}, "template": template} | spec,
    }


async def test_a_pod_is_filled_in(cluster):
    probe = {"httpGet": {"port": 80}}
    body = await cluster.create(PODS, pod(containers=[MAIN | {"readinessProbe": probe, "ports": [{"containerPort": 80}]}]))
    spec = body["spec"]
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["terminationGracePeriodSeconds"]) == ("Always", "ClusterFirst", 30)
    assert spec["serviceAccountName"] == "default"
    container = spec["containers"][0]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert (body["status"]["phase"], body["status"]["qosClass"]) == ("Pending", "BestEffort")


async def test_the_latest_image_is_always_pulled_and_requests_follow_limits(cluster):
    container = {"name": "main", "image": "example.invalid/x", "resources": {"limits": {"memory": "1Gi", "cpu": 1}}}
    body = await cluster.create(PODS, pod(containers=[container]))
    assert body["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert body["spec"]["containers"][0]["resources"]["requests"] == {"memory": "1Gi", "cpu": "1"}
    assert body["status"]["qosClass"] == "Guaranteed"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"containers": []}, r"spec.containers: Required value"),
        ({"containers": [{"name": "main"}]}, r"spec.containers\[0\].image: Required value"),
        ({"containers": [{"image": "x"}]}, r"spec.containers\[0\].name: Required value"),
        ({"containers": [{"name": "A", "image": "x"}]}, r'spec.containers\[0\].name: Invalid value: "A"'),
        ({"containers": [MAIN, MAIN]}, r'spec.containers\[1\].name: Duplicate value: "main"'),
        ({"restartPolicy": "Sometimes"}, r'spec.restartPolicy: Unsupported value: "Sometimes"'),
        (
            {"containers": [MAIN | {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}]},
            r'spec.containers\[0\].volumeMounts\[0\].name: Not found: "v"',
        ),
        ({"containers": [MAIN | {"readinessProbe": {"periodSeconds": 1}}]}, "must specify a handler type"),
    ],
)
async def test_an_invalid_pod_is_refused(cluster, spec, message):
    with pytest.raises(UsageError, match=message):
        await cluster.create(PODS, pod(**spec))


async def test_a_field_of_the_wrong_type_is_a_bad_request(api, namespace):
    body = pod(containers=[MAIN | {"env": [{"name": "A", "value": 1}]}])
    status, answer = await api("POST", PODS.path(namespace), body)
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert "json: cannot unmarshal number into Go struct field" in answer["message"]
    assert "spec.containers.env.value of type string" in answer["message"]


async def test_an_unknown_field_is_dropped_or_refused(api, cluster, namespace):
    body = pod(containers=[MAIN | {"comand": ["x"]}])
    status, answer = await api("POST", PODS.path(namespace), body, fieldValidation="Strict")
    assert status == 400
    assert 'strict decoding error: unknown field "spec.containers[0].comand"' in answer["message"]
    created = await cluster.create(PODS, body)
    assert "comand" not in created["spec"]["containers"][0]


async def test_only_a_few_fields_of_a_pod_can_change(cluster):
    await cluster.create(PODS, pod())
    with pytest.raises(UsageError, match="spec: Forbidden: pod updates may not change fields other than"):
        await cluster.patch(PODS, "p", {"spec": {"hostname": "x"}})
    changed = {"spec": {"containers": [{"name": "main", "image": "example.invalid/x:2"}]}}
    after = await cluster.patch(PODS, "p", changed, type="strategic")
    assert after["spec"]["containers"][0]["image"] == "example.invalid/x:2"


async def test_scheduling_gates_of_a_pod_can_only_be_lifted(cluster):
    gates = [{"name": "example.com/one"}, {"name": "example.com/two"}]
    with pytest.raises(UsageError, match=r"spec\.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"):
        await cluster.create(PODS, pod(schedulingGates=gates, nodeName="chrek-none"))
    await cluster.create(PODS, pod(schedulingGates=gates))
    after = await cluster.patch(PODS, "p", {"spec": {"schedulingGates": gates[:1]}})
    assert after["spec"]["schedulingGates"] == gates[:1]
    with pytest.raises(UsageError, match="found new scheduling gate"):
        await cluster.patch(PODS, "p", {"spec": {"schedulingGates": gates}})
    after = await cluster.patch(PODS, "p", {"spec": {"schedulingGates": None}})
    assert "schedulingGates" not in after["spec"]


async def test_a_binding_puts_a_pod_on_a_node_once(api, cluster, namespace):
    await cluster.create(PODS, pod())
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "chrek-none"}}
    path = PODS.path(namespace, "p", "binding")
    assert (await api("POST", path, binding))[0] == 201
    body = await cluster.get(PODS, "p")
    assert body["spec"]["nodeName"] == "chrek-none"
    assert [(item["type"], item["status"]) for item in body["status"]["conditions"]] == [("PodScheduled", "True")]
    assert (await api("POST", path, binding))[0] == 409
    assert len(await cluster.list(PODS, fields="spec.nodeName=chrek-none")) == 1
    await api("DELETE", PODS.path(namespace, "p"), {"gracePeriodSeconds": 0})


async def test_the_status_of_a_pod_is_a_subresource(cluster):
    await cluster.create(PODS, pod())
    condition = {"type": "Ready", "status": "False"}
    for kind in ("Ready", "Other"):
        patch = {"status": {"conditions": [condition | {"type": kind}]}}
        body = await cluster.patch(PODS, "p", patch, type="strategic", subresource="status")
    assert {item["type"] for item in body["status"]["conditions"]} >= {"Ready", "Other"}
    assert "conditions" not in (await cluster.patch(PODS, "p", {"metadata": {"labels": {"a": "b"}}}))["spec"]


async def test_a_job_selects_its_own_pods(cluster):
    body = await cluster.create(JOBS, job())
    spec, uid = body["spec"], body["metadata"]["uid"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert spec["template"]["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "j",
        "controller-uid": uid,
        "job-name": "j",
    }
    assert (spec["parallelism"], spec["completions"], spec["backoffLimit"]) == (1, 1, 6)


async def test_a_job_restarts_never_or_on_failure(cluster):
    body = job()
    body["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    with pytest.raises(UsageError, match=r'Job.batch "j" is invalid: .*spec.template.spec.restartPolicy.*"OnFailure", "Never"'):
        await cluster.create(JOBS, body)


async def test_the_template_of_a_job_is_immutable(cluster):
    await cluster.create(JOBS, job(suspend=False, parallelism=0))
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "y"}]
    with pytest.raises(UsageError, match=r"spec.template: Invalid value: .*field is immutable"):
        await cluster.patch(JOBS, "j", patch, type="json")


async def test_a_deployment_is_filled_in(cluster):
    spec = (await cluster.create(DEPLOYMENTS, deployment()))["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


async def test_a_deployment_selects_its_own_template(cluster):
    with pytest.raises(UsageError, match="`selector` does not match template `labels`"):
        await cluster.create(DEPLOYMENTS, deployment(selector={"matchLabels": {"app": "other"}}))
    with pytest.raises(UsageError, match=r"spec.selector: Required value"):
        await cluster.create(DEPLOYMENTS, deployment(selector=None))


async def test_the_selector_of_a_deployment_is_immutable(cluster):
    await cluster.create(DEPLOYMENTS, deployment())
    labels = {"app": "e"}
    patch = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
    with pytest.raises(UsageError, match=r"spec.selector: Invalid value: .*field is immutable"):
        await cluster.patch(DEPLOYMENTS, "d", patch)


async def test_scale_is_a_view_of_the_replicas(api, cluster, namespace):
    await cluster.create(DEPLOYMENTS, deployment())
    path = DEPLOYMENTS.path(namespace, "d", "scale")
    _, scale = await api("GET", path)
    assert (scale["kind"], scale["apiVersion"], scale["status"]["selector"]) == ("Scale", "autoscaling/v1", "app=d")
    scale["spec"]["replicas"] = 0
    del scale["metadata"]["resourceVersion"]  # a controller may have written the status meanwhile
    assert (await api("PUT", path, scale))[0] == 200
    status, body = await api("PATCH", path, {"spec": {"replicas": 1}}, content_type="application/merge-patch+json")
    assert (status, body["spec"]["replicas"]) == (200, 1)
    assert (await cluster.get(DEPLOYMENTS, "d"))["spec"]["replicas"] == 1


async def test_a_replica_set_wants_one_by_default(cluster):
    body = deployment(replicas=None, selector={"matchLabels": {"app": "d"}})
    body["spec"]["template"]["spec"]["nodeSelector"] = {"chrek": "none"}
    assert (await cluster.create(REPLICA_SETS, body, dry_run=True))["spec"]["replicas"] == 1


async def test_plain_text_of_a_secret_is_encoded(cluster):
    body = await cluster.create(SECRETS, {"metadata": {"name": "s"}, "stringData": {"a": "b"}})
    assert (body["type"], body["data"]) == ("Opaque", {"a": "Yg=="})
    assert "stringData" not in body


async def test_an_immutable_config_map_stays(cluster):
    await cluster.create(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}, "immutable": True})
    with pytest.raises(UsageError, match="field is immutable when `immutable` is set"):
        await cluster.patch(CONFIG_MAPS, "c", {"data": {"a": "2"}})


async def test_values_of_a_config_map_are_strings(cluster):
    with pytest.raises(UsageError, match=r"cannot unmarshal number into Go struct field ConfigMap.data of type string"):
        await cluster.create(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": 1}})


async def test_a_service_gets_an_address(cluster):
    spec = {"selector": {"a": "b"}, "ports": [{"port": 80}]}
    body = await cluster.create(SERVICES, {"metadata": {"name": "s"}, "spec": spec})
    assert body["spec"]["clusterIP"]
    assert body["spec"]["ports"][0] == {"port": 80, "targetPort": 80, "protocol": "TCP"}


async def test_an_event_is_about_something_in_its_namespace(cluster, namespace):
    about = {"kind": "Pod", "name": "p", "namespace": namespace}
    body = await cluster.create(EVENTS, {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R"})
    assert body["involvedObject"] == about
    assert len(await cluster.list(EVENTS, fields="involvedObject.name=p,reason=R")) == 1
    with pytest.raises(UsageError, match=r"involvedObject.namespace: Invalid value"):
        await cluster.create(EVENTS, {"metadata": {"name": "f"}, "involvedObject": about | {"namespace": "default"}})


async def test_a_namespace_is_active_and_carries_its_name(cluster, namespace):
    body = await cluster.get(NAMESPACES, namespace)
    assert body["status"]["phase"] == "Active"
    assert body["metadata"]["labels"]["kubernetes.io/metadata.name"] == namespace


async def test_the_log_of_a_pod_without_a_node_is_empty(api, cluster, namespace):
    await cluster.create(PODS, pod())
    assert (await cluster.logs("p")) == ""
    status, body = await api("GET", PODS.path(namespace, "p", "log"), container="other")
    assert (status, body["message"]) == (400, "container other is not valid for pod p")
    with pytest.raises(NotFoundError):
        await cluster.logs("none")


async def test_a_container_must_be_chosen_where_there_are_two(cluster):
    await cluster.create(PODS, pod(containers=[MAIN, MAIN | {"name": "side"}]))
    with pytest.raises(UsageError, match=r"a container name must be specified for pod p, choose one of: \[main side\]"):
        await cluster.logs("p")


async def test_an_eviction_deletes(api, cluster, namespace):
    await cluster.create(PODS, pod())
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": namespace}}
    assert (await api("POST", PODS.path(namespace, "p", "eviction"), eviction))[0] == 201
    with pytest.raises(NotFoundError):
        await cluster.get(PODS, "p")


async def test_a_taken_name_is_a_conflict_for_built_in_kinds_with_a_group(cluster):
    await cluster.create(DEPLOYMENTS, deployment())
    with pytest.raises(ConflictError, match=r'deployments.apps "d" already exists'):
        await cluster.create(DEPLOYMENTS, deployment())

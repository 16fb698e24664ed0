"""Pods as the node runs them: what a container finds, how it ends, what the API says of it."""

from contextlib import aclosing
from pathlib import Path

import pytest

from kubectl_chrek.cluster.resources import CONFIG_MAPS, EVENTS, PODS, SECRETS
from kubectl_chrek.local.clock import seconds

pytestmark = pytest.mark.criu


def only(pod):
    (status,) = pod["status"]["containerStatuses"]
    return status


def condition(pod, kind):
    return next(one for one in pod["status"]["conditions"] if one["type"] == kind)


async def test_a_pod_that_ends_well_succeeds_and_leaves_its_log(machine):
    await machine.run("fine", ["sh", "-c", "echo one; echo two >&2; printf three"])
    pod = await machine.phase("fine", "Succeeded", "Failed")
    state = only(pod)["state"]["terminated"]
    assert (pod["status"]["phase"], state["exitCode"], state["reason"]) == ("Succeeded", 0, "Completed")
    assert only(pod)["containerID"] == state["containerID"]
    assert len(only(pod)["containerID"].removeprefix("containerd://")) == 64
    assert condition(pod, "Ready")["reason"] == "PodCompleted"
    assert sorted((await machine.cluster.logs("fine")).splitlines()) == ["one", "three", "two"]
    assert (await machine.cluster.logs("fine", tail=1)).count("\n") == 1


async def test_exit_codes_and_termination_messages_are_reported(machine):
    await machine.run("seven", ["sh", "-c", "echo because >/dev/termination-log; exit 7"])
    state = only(await machine.phase("seven", "Failed"))["state"]["terminated"]
    assert (state["exitCode"], state["reason"], state["message"]) == (7, "Error", "because\n")


async def test_a_program_that_is_not_there_is_a_start_error(machine):
    await machine.run("nothing", ["/no/such/program"])
    state = only(await machine.phase("nothing", "Failed"))["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (128, "StartError")
    assert "/no/such/program" in state["message"]


async def test_an_unknown_image_keeps_the_pod_pending(machine):
    await machine.run("foreign", ["true"], container={"image": "docker.io/library/busybox:1"})
    pod = await machine.until("foreign", lambda pod: "ImagePullBackOff" in str(pod.get("status")))
    assert pod["status"]["phase"] == "Pending"
    assert "localhost/host" in only(pod)["state"]["waiting"]["message"]


async def test_process_one_holds_three_descriptors_and_leads_its_session(machine):
    script = "import os; print([os.readlink(f'/proc/self/fd/{n}').split(':')[0] for n in (0, 1, 2)], os.getsid(0), os.getpid())"
    await machine.run("fds", ["sh", "-c", f'ls /proc/1/fd; exec python3 -c "{script}"'])
    await machine.phase("fds", "Succeeded")
    *descriptors, line = (await machine.cluster.logs("fds")).splitlines()
    assert descriptors[:3] == ["0", "1", "2"]
    # The shell that started `ls` may hold no more than the script it runs from.
    assert len(descriptors) == 3
    assert line == "['/dev/null', 'pipe', 'pipe'] 1 1"


async def test_namespaces_are_the_containers_own(machine):
    kinds = ("pid", "mnt", "ipc", "uts", "net")
    await machine.run(
        "apart", ["sh", "-c", "for n in pid mnt ipc uts net; do readlink /proc/1/ns/$n; done; hostname; ip -o -4 addr"]
    )
    pod = await machine.phase("apart", "Succeeded")
    lines = (await machine.cluster.logs("apart")).splitlines()
    assert not {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds} & set(lines)
    assert lines[5] == "apart"
    assert any(" lo " in line for line in lines[6:])
    assert any(f"{pod['status']['podIP']}/32" in line for line in lines[6:])


async def test_the_root_is_the_hosts_but_writes_and_temporary_files_are_not(machine, tmp_path):
    marker = tmp_path / "marker"
    marker.write_text("of the host")
    await machine.run(
        "root", ["sh", "-c", f"ls {marker} 2>&1 | wc -w; cat /etc/os-release | wc -l; echo x > /opt/chrek-written; ls /tmp"]
    )
    await machine.phase("root", "Succeeded")
    missing, release, *rest = (await machine.cluster.logs("root")).splitlines()
    assert int(missing) > 1
    assert int(release) > 1
    assert rest == []
    assert not Path("/opt/chrek-written").exists()


async def test_environment_and_volumes_come_from_the_cluster(machine):
    await machine.cluster.create(
        CONFIG_MAPS, {"metadata": {"name": "map"}, "data": {"k": "v", "other": "o"}, "binaryData": {"b": "AP8="}}
    )
    await machine.cluster.create(SECRETS, {"metadata": {"name": "sec"}, "stringData": {"word": "hush"}})
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)-$$(A)-$(UNKNOWN)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "k"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "word"}}},
        {"name": "O", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": True}}},
    ]
    volumes = [
        {
            "name": "map",
            "configMap": {"name": "map", "items": [{"key": "k", "path": "deep/k", "mode": 0o400}, {"key": "b", "path": "b"}]},
        },
        {"name": "sec", "secret": {"secretName": "sec"}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "mem", "emptyDir": {"medium": "Memory"}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "c"}},
    ]
    mounts = [{"name": one["name"], "mountPath": f"/v/{one['name']}"} for one in volumes]
    script = (
        'echo "$B $NAME $APP $IP $K $S ${O-unset} $(A)"; cd /v; cat map/deep/k sec/word down/labels; echo; '
        "stat -Lc %a map/deep/k; stat -Lc %s map/b; findmnt -no FSTYPE mem; echo kept > claim/file"
    )
    await machine.run("full", ["sh", "-c", script], container={"env": env, "volumeMounts": mounts}, volumes=volumes)
    pod = await machine.phase("full", "Succeeded", "Failed")
    first, second, *rest = (await machine.cluster.logs("full")).splitlines()
    assert first == f"a-$(A)-$(UNKNOWN) full full {pod['status']['podIP']} v hush unset a"
    assert second == 'vhushapp="full"'
    assert rest == ["400", "2", "tmpfs"]
    assert (machine.config.claims / "default_c" / "file").read_text() == "kept\n"
    directory = machine.config.pod_directory(pod["metadata"]["uid"]) / "volumes"
    assert (directory / "kubernetes.io~configmap" / "map" / "..data" / "deep" / "k").read_text() == "v"


async def test_a_missing_reference_waits_and_starts_once_it_is_there(machine):
    env = [{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}]
    await machine.run("waits", ["sh", "-c", "echo $K"], container={"env": env})
    pod = await machine.until("waits", lambda pod: "CreateContainerConfigError" in str(pod.get("status")))
    assert only(pod)["state"]["waiting"]["message"] == 'configmap "late" not found'
    await machine.cluster.create(CONFIG_MAPS, {"metadata": {"name": "late"}, "data": {"k": "here"}})
    await machine.phase("waits", "Succeeded")
    assert await machine.cluster.logs("waits") == "here\n"


async def test_a_crashing_container_backs_off_and_keeps_its_previous_log(machine):
    await machine.run("crash", ["sh", "-c", "echo run; exit 3"], policy="Always")
    pod = await machine.until("crash", lambda pod: "CrashLoopBackOff" in str(pod.get("status")))
    status = only(pod)
    assert pod["status"]["phase"] == "Running"
    assert status["lastState"]["terminated"]["exitCode"] == 3
    pod = await machine.until("crash", lambda pod: only(pod)["restartCount"] >= 2)
    assert (await machine.cluster.logs("crash")).count("run") <= 1


async def test_on_failure_starts_again_until_it_succeeds(machine):
    script = "test -e /data/once || { touch /data/once; exit 1; }; echo done"
    volume = {"name": "data", "emptyDir": {}}
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    await machine.run("twice", ["sh", "-c", script], policy="OnFailure", container=mount, volumes=[volume])
    pod = await machine.phase("twice", "Succeeded", "Failed")
    assert (pod["status"]["phase"], only(pod)["restartCount"]) == ("Succeeded", 1)


async def test_init_containers_run_first_and_one_after_the_other(machine):
    mount = {"image": "localhost/host", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    inits = [{"name": name, "command": ["sh", "-c", f"echo {name} >> /data/log"], **mount} for name in ("first", "second")]
    await machine.run(
        "init", ["cat", "/data/log"], container=mount, volumes=[{"name": "data", "emptyDir": {}}], initContainers=inits
    )
    pod = await machine.phase("init", "Succeeded", "Failed")
    assert await machine.cluster.logs("init", container="main") == "first\nsecond\n"
    assert condition(pod, "Initialized")["status"] == "True"
    assert [one["ready"] for one in pod["status"]["initContainerStatuses"]] == [True, True]


async def test_a_failed_init_container_fails_the_pod(machine):
    inits = [{"name": "no", "image": "localhost/host", "command": ["false"]}]
    await machine.run("initfail", ["true"], initContainers=inits)
    pod = await machine.phase("initfail", "Succeeded", "Failed")
    assert pod["status"]["phase"] == "Failed"
    assert "waiting" in only(pod)["state"]


async def test_the_pods_deadline_fails_it(machine):
    await machine.run("long", ["sleep", "1000"], activeDeadlineSeconds=1)
    pod = await machine.phase("long", "Succeeded", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert only(pod)["state"]["terminated"]["exitCode"] == 137


async def test_deletion_asks_first_and_kills_after_the_grace_period(machine):
    await machine.run(
        "polite",
        ["sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"],
        terminationGracePeriodSeconds=1000,
    )
    await machine.run("deaf", ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"])
    for name in ("polite", "deaf"):
        pod = await machine.phase(name, "Running")
        async with aclosing(machine.node.logs("default", pod, "main", follow=True)) as pieces:
            assert await anext(pieces) == b"up\n"  # A signal that came before its trap would be lost, for it is PID 1.
        await machine.cluster.delete(PODS, name)
        await machine.gone(name)
    reasons = {event["reason"] for event in await machine.cluster.list(EVENTS)}
    assert {"Scheduled", "Pulled", "Created", "Started", "Killing"} <= reasons


async def test_privileges_follow_the_security_context(machine):
    context = {
        "runAsUser": 1234,
        "runAsGroup": 4321,
        "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
        "readOnlyRootFilesystem": True,
    }
    await machine.run(
        "low",
        ["sh", "-c", "id -u; id -g; grep CapBnd /proc/self/status; touch /opt/x 2>&1 | grep -c Read-only"],
        container={"securityContext": context},
    )
    await machine.phase("low", "Succeeded", "Failed")
    assert (await machine.cluster.logs("low")).split() == ["1234", "4321", "CapBnd:", f"{1 << 13:016x}", "1"]
    await machine.run(
        "plain", ["sh", "-c", "test -w /proc/sys/kernel/ns_last_pid && echo 1 > /proc/sys/kernel/ns_last_pid || echo refused"]
    )
    await machine.phase("plain", "Succeeded", "Failed")
    assert "refused" in await machine.cluster.logs("plain")


async def test_start_time_is_never_after_the_containers_start(machine):
    await machine.run("times", ["true"])
    pod = await machine.phase("times", "Succeeded")
    state = only(pod)["state"]["terminated"]
    assert seconds(pod["status"]["startTime"]) <= seconds(state["startedAt"]) <= seconds(state["finishedAt"])

"""Pod status, restarts and probes, computed."""

import pytest

from kubectl_chrek.local.node import restarts
from kubectl_chrek.local.node.probes import Tally
from kubectl_chrek.local.node.status import Facts, View, compute, phase

RUNNING = {"running": {"startedAt": "x"}}
WAITING = {"waiting": {"reason": "ContainerCreating"}}


def ended(code):
    return {"terminated": {"exitCode": code}}


def view(state, last=None, **more):
    return View("main", "image", state=state, last_state=last or {}, **more)


def facts(**more):
    return Facts(**({"now": 1000.0, "started": 900.0, "host_ip": "h", "initialized": True} | more))


def pod(policy="Always", conditions=()):
    return {"metadata": {"name": "p"}, "spec": {"restartPolicy": policy}, "status": {"conditions": list(conditions)}}


def conditions(status):
    return {one["type"]: one["status"] for one in status["conditions"]}


@pytest.mark.parametrize(
    ("policy", "states", "expected"),
    [
        ("Always", [view(WAITING)], "Pending"),
        ("Always", [view(RUNNING)], "Running"),
        ("Always", [view(RUNNING), view(WAITING)], "Running"),
        ("Always", [view(ended(0))], "Running"),
        ("Always", [view(WAITING, ended(1))], "Running"),
        ("OnFailure", [view(ended(0))], "Succeeded"),
        ("OnFailure", [view(ended(1))], "Running"),
        ("Never", [view(ended(0))], "Succeeded"),
        ("Never", [view(ended(0)), view(ended(1))], "Failed"),
        ("Never", [view(ended(0)), view(RUNNING)], "Running"),
    ],
)
def test_phase(policy, states, expected):
    assert phase(policy, True, [], states, deleting=False) == expected


@pytest.mark.parametrize(
    ("policy", "code", "expected"), [("Never", 1, "Failed"), ("Always", 1, "Pending"), ("Never", 0, "Pending")]
)
def test_phase_while_initializing(policy, code, expected):
    assert phase(policy, False, [view(ended(code))], [view(WAITING)], deleting=False) == expected


def test_a_deleted_pod_ends_as_its_containers_did():
    assert phase("Always", True, [], [view(ended(0))], deleting=True) == "Succeeded"
    assert phase("Always", True, [], [view(ended(137))], deleting=True) == "Failed"


def test_ready_needs_all_containers_and_all_gates():
    both = [view(RUNNING, ready=True), view(RUNNING)]
    assert conditions(compute(pod(), [], both, facts()))["Ready"] == "False"
    both[1].ready = True
    assert conditions(compute(pod(), [], both, facts()))["Ready"] == "True"
    gated = pod()
    gated["spec"]["readinessGates"] = [{"conditionType": "example.com/gate"}]
    found = conditions(compute(gated, [], both, facts()))
    assert (found["ContainersReady"], found["Ready"]) == ("True", "False")


def test_conditions_keep_their_time_and_those_of_others_stay():
    before = [
        {"type": "Ready", "status": "True", "lastTransitionTime": "then"},
        {"type": "ContainersReady", "status": "False", "lastTransitionTime": "then"},
        {"type": "example.com/gate", "status": "True"},
    ]
    found = compute(pod(conditions=before), [], [view(RUNNING, ready=True)], facts())["conditions"]
    times = {one["type"]: one.get("lastTransitionTime") for one in found}
    assert times["Ready"] == "then"
    assert times["ContainersReady"] == "1970-01-01T00:16:40Z"
    assert before[2] in found


def test_a_failure_of_the_pod_beats_its_containers():
    status = compute(pod("Never"), [], [view(ended(0))], facts(failure=("DeadlineExceeded", "late")))
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "late")


@pytest.mark.parametrize(
    ("policy", "code", "init", "expected"),
    [
        ("Always", 0, False, True),
        ("Always", 0, True, False),
        ("Always", 1, True, True),
        ("OnFailure", 0, False, False),
        ("OnFailure", 1, False, True),
        ("Never", 1, False, False),
        ("Never", 1, True, False),
    ],
)
def test_who_is_started_again(policy, code, init, expected):
    assert restarts.again(policy, code, init=init) is expected


def test_the_first_restart_is_at_once_then_the_delay_doubles_to_five_minutes():
    assert [restarts.delay(10, crashes) for crashes in (1, 2, 3, 4, 5, 6, 7, 99)] == [0, 10, 20, 40, 80, 160, 300, 300]


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "200ms"), (10, "10s"), (80, "1m20s"), (300, "5m0s")])
def test_delays_in_words(seconds, text):
    assert restarts.words(seconds) == text


def test_thresholds_count_answers_in_a_row():
    tally = Tally(success_threshold=2, failure_threshold=3)
    verdicts = []
    for answer in (True, False, True, True, False, False, True, False, False, False, True, True):
        tally = tally.after(answer)
        verdicts.append(tally.verdict)
    assert verdicts == [None, None, None, True, True, True, True, True, True, False, False, True]

"""Finding a pod's container in cgroupfs, as each runtime lays it out."""

import pytest

from chrek_agent.container import discovery as module
from chrek_agent.container import processes
from chrek_agent.container.discovery import find_container, running_id, worker_name
from chrek_agent.errors import AgentError

ID = "0123456789abcdef" * 4
POD = {
    "metadata": {"name": "p", "namespace": "ns"},
    "spec": {"containers": [{"name": "sidecar"}, {"name": "main"}]},
    "status": {"containerStatuses": [{"name": "main", "containerID": f"containerd://{ID}", "state": {"running": {}}}]},
}
V1 = ("pids", "memory", "cpu,cpuacct", "systemd")
SLICE = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx.slice"


class Host:
    """cgroupfs and /proc of a node, as files."""

    def __init__(self, tmp_path, monkeypatch):
        self.root = tmp_path / "cgroup"
        self.proc = tmp_path / "proc"
        self.root.mkdir()
        monkeypatch.setattr(processes, "PROC", self.proc)

    def group(self, path, *pids, hierarchies=("",)):
        for hierarchy in hierarchies:
            directory = self.root / hierarchy
            for part in ("", *path.split("/")):
                directory = directory / part
                directory.mkdir(exist_ok=True, parents=True)
                (directory / "cgroup.procs").touch()
            (directory / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))

    def unified(self):
        (self.root / "cgroup.controllers").touch()

    def process(self, pid, inner, *lines, start=100):
        directory = self.proc / str(pid)
        directory.mkdir(parents=True)
        (directory / "stat").write_text(f"{pid} (a (b) c) S 1 {'0 ' * 17}{start} 0\n")
        (directory / "status").write_text(f"Name:\tx\nNSpid:\t{pid}\t{inner}\n")
        (directory / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def find(self):
        found = find_container(POD, self.root)
        return found, [str(path.relative_to(self.root)) for path in found.cgroups]


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "path",
    [
        f"kubepods/burstable/podx/{ID}",
        f"kubepods/burstable/podx/crio-{ID}",
        f"{SLICE}/cri-containerd-{ID}.scope",
        f"{SLICE}/crio-{ID}.scope",
        f"system.slice/containerd.service/kubepods-burstable-podx.slice:cri-containerd:{ID}",
    ],
)
def test_v1(host, path):
    host.group(path, 50, 40, hierarchies=V1)
    numbered = enumerate(("pids", "memory", "cpu,cpuacct", "name=systemd"))
    host.process(40, 1, *(f"{number}:{controllers}:/{path}" for number, controllers in numbered), "0::/elsewhere")
    host.process(50, 7)
    found, cgroups = host.find()
    assert (found.id, found.name, found.init, found.init_start) == (ID, "main", 40, 100)
    assert sorted(cgroups) == sorted(f"{hierarchy}/{path}" for hierarchy in V1)


@pytest.mark.parametrize("name", [f"cri-containerd-{ID}.scope", f"crio-{ID}.scope", f"docker-{ID}.scope", ID])
def test_v2(host, name):
    host.unified()
    host.group(f"{SLICE}/{name}", 40)
    host.process(40, 1, f"0::/{SLICE}/{name}")
    found, cgroups = host.find()
    assert found.init == 40
    assert cgroups == [f"{SLICE}/{name}"]


def test_v2_with_the_processes_in_a_group_of_their_own(host):
    host.unified()
    host.group(f"{SLICE}/crio-{ID}.scope")
    host.group(f"{SLICE}/crio-{ID}.scope/container", 40)
    host.process(40, 1, f"0::/../../{SLICE}/crio-{ID}.scope/container")
    found, cgroups = host.find()
    assert found.init == 40
    assert cgroups == [f"{SLICE}/crio-{ID}.scope/container"]


def test_v2_seen_from_a_cgroup_namespace_of_the_agent(host):
    host.unified()
    host.group(f"{SLICE}/cri-containerd-{ID}.scope", 40)
    host.group("podx", 99)
    host.process(40, 1, f"0::/../../podx/cri-containerd-{ID}.scope")
    assert host.find()[1] == [f"{SLICE}/cri-containerd-{ID}.scope"]


def test_v1_seen_from_a_cgroup_namespace_of_the_agent(host):
    path = f"kubepods/podx/{ID}"
    host.group(path, 40, hierarchies=("pids", "memory"))
    host.process(40, 1, f"2:pids:/../podx/{ID}", f"1:memory:/../podx/{ID}", f"3:cpuset:/../podx/{ID}")
    assert sorted(host.find()[1]) == [f"memory/{path}", f"pids/{path}"]


def test_hybrid_hierarchies_are_all_found(host):
    path = f"kubepods/podx/{ID}"
    host.group(path, 40, hierarchies=("pids", "unified"))
    host.process(40, 1, f"2:pids:/{path}", f"0::/{path}")
    assert sorted(host.find()[1]) == [f"pids/{path}", f"unified/{path}"]


@pytest.mark.parametrize("name", ["{}.scope", "{}"])
def test_the_monitor_of_crio_is_not_the_container(host, name):
    host.unified()
    host.group(name.format(f"crio-conmon-{ID}"), 30)
    host.group("b/" + name.format(f"crio-{ID}"), 40)
    host.process(30, 30, "0::/monitor")
    host.process(40, 1, "0::/b/" + name.format(f"crio-{ID}"))
    assert host.find()[0].init == 40


def test_a_sandbox_inside_has_a_process_1_that_is_not_the_container(host):
    host.unified()
    host.group(f"podx/{ID}", 60, 40)
    host.process(60, 1, start=500)
    host.process(40, 1, f"0::/podx/{ID}", start=100)
    assert host.find()[0].init == 40


def test_processes_that_are_gone_are_passed_over(host):
    host.unified()
    host.group(f"podx/{ID}", 0, 30, 40)
    host.process(40, 1)
    assert host.find()[0].init == 40


def test_a_container_of_another_node_is_said_to_be(host):
    host.unified()
    host.group("podx/" + "f" * 64, 40)
    with pytest.raises(AgentError, match=r"container 0123456789ab has no cgroup below .*: is it on this node"):
        host.find()


def test_a_shared_process_namespace_is_said_to_have_no_process_1(host):
    host.unified()
    host.group(f"podx/{ID}", 40)
    host.process(40, 7)
    with pytest.raises(AgentError, match="has no process 1"):
        host.find()


def test_without_cgroupfs_nothing_is_found(host):
    with pytest.raises(AgentError, match="has no cgroup"):
        host.find()


def test_the_root_is_entered_through_the_process(host):
    host.unified()
    host.group(f"podx/{ID}", 40)
    host.process(40, 1)
    assert host.find()[0].root == host.proc / "40" / "root"


def test_a_number_that_is_used_again_is_another_container(host):
    host.unified()
    host.group(f"podx/{ID}", 40)
    host.process(40, 1)
    found, _ = host.find()
    assert found.running()
    stat = host.proc / "40" / "stat"
    stat.write_text(stat.read_text().replace(" 100 0", " 101 0"))
    assert not found.running()


def test_a_process_that_waits_to_be_reaped_is_gone(host):
    host.process(40, 1)
    assert processes.is_same(40, 100)
    stat = host.proc / "40" / "stat"
    stat.write_text(stat.read_text().replace(") S ", ") Z "))
    assert not processes.is_same(40, 100)


@pytest.mark.parametrize(
    ("annotations", "containers", "expected"),
    [
        (None, ["main"], "main"),
        ({}, ["sidecar", "main"], "main"),
        ({}, ["first", "second"], "first"),
        ({"nvidia.com/chrek-container": "second"}, ["main", "second"], "second"),
    ],
)
def test_the_worker_is_named_or_main_or_the_first(annotations, containers, expected):
    pod = {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": name} for name in containers]}}
    assert worker_name(pod) == expected


def test_only_a_running_container_has_an_id():
    assert running_id(POD) == ID
    for status in (None, {}, {"containerStatuses": None}, {"containerStatuses": [{"name": "sidecar", "state": {"running": {}}}]}):
        assert running_id(POD | {"status": status}) == ""
    waiting = {"containerStatuses": [{"name": "main", "containerID": f"cri-o://{ID}", "state": {"terminated": {}}}]}
    assert running_id(POD | {"status": waiting}) == ""
    with pytest.raises(AgentError, match="container main is not running"):
        module.find_container(POD | {"status": waiting}, None)

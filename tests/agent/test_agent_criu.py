"""How CRIU is called, how long it may take, and what its logs mean. No CRIU runs here: its loader is a script."""

import asyncio
import os
from pathlib import Path

import pytest

from chrek_agent.container import processes
from chrek_agent.criu import options
from chrek_agent.criu.log import errors, explain, interrupted
from chrek_agent.criu.runner import Criu, InterruptedDumpError, OvertimeError
from chrek_agent.errors import AgentError, CaptureError, RestoreError

HARMLESS = "(00.000158) Error (criu/util.c:1377): Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
URING = "(00.031002)  1004: Error (criu/files-ext.c:99): Can't dump file 11 of that type [600] (anon_inode:[io_uring])\n"
BETWEEN = "(00.06) Error (compel/src/lib/infect.c:608): Unexpected 1001 task interruption, aborting\n"
WITHIN = "(00.07) Error (criu/parasite-syscall.c:87): si_code=5 si_pid=1001 si_status=0\n"
WITHIN += "(00.07) Error (criu/parasite-syscall.c:94): 1001 was stopped by 5 unexpectedly\n"
CRASHED = WITHIN.replace("by 5", "by 11")
COMMON = ["-v3", "--manage-cgroups=ignore", "--tcp-established", "--link-remap", "--file-locks", "--ghost-limit=512M"]


def test_the_dump_command():
    assert options.dump(1001, images_fd=5, work_fd=6) == [
        *("dump", "--tree", "1001", "--images-dir", "/proc/self/fd/5", "--work-dir", "/proc/self/fd/6", "--log-file", "dump.log"),
        *(*COMMON, "--leave-stopped", "--network-lock=skip", "--skip-in-flight", "--force-irmap"),
        "--irmap-scan-path=/tmp",
    ]


def test_a_dump_in_place_is_held_by_a_socket_and_says_when_it_is_ready():
    assert options.in_place(socket_fd=7, ready_fd=8) == ["--lazy-pages", "--ps-socket", "7", "--status-fd", "8"]


def test_the_restore_command():
    assert options.restore(images_fd=5, work_fd=6, streams={7: "pipe:[11]", 8: "pipe:[12]"}) == [
        *("restore", "--images-dir", "/proc/self/fd/5", "--work-dir", "/proc/self/fd/6", "--log-file", "restore.log"),
        *(*COMMON, "--restore-detached", "--leave-stopped"),
        *("--inherit-fd", "fd[7]:pipe:[11]", "--inherit-fd", "fd[8]:pipe:[12]"),
    ]
    assert "--inherit-fd" not in options.restore(images_fd=5, work_fd=6, streams={})


def test_criu_comes_with_its_own_loader_into_the_namespaces_of_the_container():
    root = "/proc/self/fd/4"
    libraries = f"{root}/usr/lib/x86_64-linux-gnu"
    assert options.program(4) == [f"{root}/usr/lib64/ld-linux-x86-64.so.2", "--library-path", libraries, f"{root}/usr/sbin/criu"]
    assert options.enter(42) == ["nsenter", "-t", "42", "-m", "-p", "-n", "-u", "-i", "--"]


@pytest.fixture
def log(tmp_path):
    def write(text):
        (tmp_path / "dump.log").write_text("(00.000012) Version: 4.2 (gitid 0)\n" + text)
        return tmp_path / "dump.log"

    return write


def test_the_first_error_is_often_harmless(log):
    text = HARMLESS + "(00.01) Warn  (criu/x.c:1): hm\n(00.020000) Error (criu/cr-dump.c:1): Dumping FAILED.\n"
    assert errors(log(text)) == ["Dumping FAILED."]
    assert explain(log(text), "dump", 1) == "CRIU dump failed with exit code 1: Dumping FAILED."


def test_the_first_error_that_matters_is_told(log):
    text = "Error (criu/a.c:1): first\n    77: Error (criu/b.c:2): second\n"
    assert errors(log(text)) == ["first", "second"]
    assert explain(log(text), "restore", 255) == "CRIU restore failed with exit code 255: first"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (URING, "the worker uses io_uring"),
        ("(00.1) Error (criu/sk-inet.c:188): inet: Connected TCP socket, consider using --tcp\n", "open TCP connections"),
        ("(00.1) Error (criu/image.c:1): Can't write: No space left on device\n", "the store is full"),
        ("(00.1) Error (criu/cr-restore.c:1): Can't fork for 1002: File exists\n", "a PID of the worker is taken"),
    ],
)
def test_known_reasons_are_explained_wherever_they_stand(log, line, expected):
    found = explain(log(HARMLESS + "(00.01) Error (criu/x.c:1): something vague\n" + line), "dump", 1)
    assert expected in found
    assert "(CRIU: " in found
    assert "\n" not in found


@pytest.mark.parametrize(("text", "expected"), [(BETWEEN, True), (WITHIN, True), (CRASHED, False), (URING, False), ("", False)])
def test_a_signal_that_came_in_between_is_told_apart(log, text, expected):
    assert interrupted(log(HARMLESS + text)) is expected
    assert ("a signal, most likely SIGCONT, came to the worker" in explain(log(HARMLESS + text), "dump", 1)) is expected


def test_a_log_may_be_missing_empty_or_binary(log, tmp_path):
    assert explain(tmp_path / "none.log", "dump", -9) == "CRIU dump failed with exit code -9: its log names no error"
    assert errors(log("")) == []
    (tmp_path / "dump.log").write_bytes(b"\xff\xfe\nError (criu/a.c:1): bad \xff byte\n")
    assert errors(tmp_path / "dump.log") == ["bad \ufffd byte"]


def test_no_exit_code_means_that_time_was_up(log):
    assert explain(log(URING), "dump", None) == "CRIU did not finish its dump in time"


class Fake:
    """A tree with a script in place of CRIU's loader."""

    def __init__(self, tmp_path):
        self.root, self.images, self.work = (tmp_path / name for name in ("root", "images", "work"))
        for path in (self.root / "usr" / "lib64", self.images, self.work):
            path.mkdir(parents=True)
        self.criu = Criu(self.root)
        self.groups = []

    def script(self, text):
        loader = self.root / "usr" / "lib64" / "ld-linux-x86-64.so.2"
        loader.write_text(f"#!/bin/sh\n{text}\n")
        loader.chmod(0o755)

    async def dump(self, container, seconds=30.0):
        await self.criu.dump(container, 1001, self.images, self.work, seconds=seconds, started=self.groups.append)

    async def restore(self, container, streams):
        limit = {"seconds": 30.0, "started": self.groups.append}
        await self.criu.restore(container, self.images, self.work, streams, **limit)


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path)


def members(group):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            process = processes.read_process(int(entry.name))
            if process is not None and process.state != "Z":
                try:
                    if os.getpgid(process.pid) == group:
                        found.append(process.pid)
                except ProcessLookupError:
                    continue
    return found


async def test_the_version_is_read(fake):
    fake.script("echo 'Version: 4.2.1'; echo 'GitID: v4.2.1'")
    assert await fake.criu.version() == "4.2.1"


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo 'Version: '", None])
async def test_a_criu_that_does_not_run_is_one_clear_error(fake, script):
    if script is not None:
        fake.script(script)
    with pytest.raises(AgentError, match="CRIU does not run from") as caught:
        await fake.criu.version()
    assert "--criu-root" in caught.value.hint


async def test_a_tree_that_is_not_there_is_the_same_error(tmp_path):
    with pytest.raises(AgentError, match="CRIU does not run from"):
        await Criu(tmp_path / "none").version()


async def test_a_dump_that_succeeds_raises_nothing(fake, make_container, as_root):
    fake.script(f'echo "$@" > {fake.work}/arguments')
    await fake.dump(make_container())
    words = (fake.work / "arguments").read_text().split()
    assert words[3:6] == ["dump", "--tree", "1001"]
    assert len(fake.groups) == 1


async def test_a_dump_that_fails_is_explained_by_its_log(fake, make_container, as_root):
    fake.script(f'echo "Error (criu/a.c:1): no luck" > {fake.work}/dump.log; exit 3')
    with pytest.raises(CaptureError, match="CRIU dump failed with exit code 3: no luck"):
        await fake.dump(make_container())


async def test_a_dump_that_a_signal_has_interrupted_may_be_made_again(fake, make_container, as_root):
    fake.script(f"echo '{BETWEEN}' > {fake.work}/dump.log; exit 1")
    with pytest.raises(InterruptedDumpError):
        await fake.dump(make_container())
    with pytest.raises(InterruptedDumpError):
        await in_place(fake, make_container())


async def test_past_its_time_the_whole_group_is_killed(fake, make_container, as_root):
    fake.script("sleep 300 & sleep 300")
    with pytest.raises(CaptureError, match="did not finish its dump in time"):
        await fake.dump(make_container(), seconds=0.2)
    await gone(fake.groups[0])


async def test_when_we_are_cancelled_the_whole_group_is_killed(fake, make_container, as_root):
    ready = fake.work / "ready"
    os.mkfifo(ready)
    fake.script(f"sleep 300 & echo > {ready}; sleep 300")
    task = asyncio.create_task(fake.dump(make_container()))
    await asyncio.to_thread(ready.read_text)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(fake.groups[0])


async def test_a_group_that_cannot_be_noted_is_killed(fake, make_container, as_root):
    fake.script("sleep 300")

    def refuse(group):
        fake.groups.append(group)
        raise OSError("the journal is full")

    with pytest.raises(OSError, match="journal is full"):
        await fake.criu.dump(make_container(), 1001, fake.images, fake.work, seconds=30, started=refuse)
    await gone(fake.groups[0])


async def gone(group):
    """Its members have been killed; a grandchild needs a moment to be reaped."""
    async with asyncio.timeout(10):
        while members(group):
            await asyncio.sleep(0.01)


async def test_a_restore_has_the_streams_and_cgroups_of_the_container(fake, pid_namespace, make_container, tmp_path):
    namespace = pid_namespace("print('ready', flush=True); import signal; signal.pause()")
    group = tmp_path / "group"
    group.mkdir()
    (group / "cgroup.procs").touch()
    container = make_container(namespace.init, (group,))
    pipe = str(Path(f"/proc/{namespace.init}/fd/1").readlink())
    # `--inherit-fd fd[N]:pipe` comes last: the script writes to that N.
    fake.script('for last; do :; done; n=${last#fd[}; n=${n%%]*}; echo "from the restored" > /proc/self/fd/"$n"')
    await fake.restore(container, {1: pipe})
    assert namespace.starter.stdout.readline() == "from the restored\n"
    assert (group / "cgroup.procs").read_text() == "0"


async def test_a_restore_that_fails_is_explained_by_its_log(fake, make_container, as_root):
    fake.script(f'echo "Error (criu/a.c:1): Can\'t fork for 1001: File exists" > {fake.work}/restore.log; exit 1')
    with pytest.raises(RestoreError, match="a PID of the worker is taken in the new pod"):
        await fake.restore(make_container(), {})


READY = "for last; do :; done; printf '\\0' > /proc/self/fd/$last"


async def in_place(fake, container, seconds=30.0):
    limit = {"seconds": seconds, "started": fake.groups.append}
    async with fake.criu.dump_in_place(container, 1001, fake.images, fake.work, **limit):
        return (fake.work / "held").write_text("yes")


async def test_a_dump_in_place_is_held_while_its_memory_is_read(fake, make_container, as_root):
    fake.script(f"{READY}; while [ ! -e {fake.work}/held ]; do sleep 0.01; done")
    assert await in_place(fake, make_container()) == 3
    await gone(fake.groups[0])


@pytest.mark.parametrize("script", ["exit 3", f"{READY}; exit 3"])
async def test_a_dump_in_place_that_fails_is_explained_by_its_log(fake, make_container, as_root, script):
    fake.script(f'echo "Error (criu/a.c:1): no luck" > {fake.work}/dump.log; {script}')
    with pytest.raises(CaptureError, match="CRIU dump failed with exit code 3: no luck"):
        await in_place(fake, make_container())


async def test_a_dump_in_place_past_its_time_is_ended(fake, make_container, as_root):
    fake.script("sleep 300")
    with pytest.raises(OvertimeError, match="did not finish its dump in time"):
        await in_place(fake, make_container(), seconds=0.2)
    await gone(fake.groups[0])

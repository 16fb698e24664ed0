"""The library that copies for the CUDA driver by several threads: what it copies, for whom, and what it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubectl_chrek.api import names

LIBRARY = Path(__file__).parents[2] / "worker/chrek_worker" / names.DRIVER_COPY_FILE
HEAD = """
import ctypes, mmap, os, pathlib, random, threading, time
libc = ctypes.CDLL(None)
for call in (libc.memcpy, libc.memmove):
    call.argtypes, call.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t), ctypes.c_void_p
MIB = 1 << 20
def address(memory): return ctypes.addressof(ctypes.c_char.from_buffer(memory))
def filled(size, seed): memory = mmap.mmap(-1, size); memory[:] = random.Random(seed).randbytes(MIB) * (size // MIB); return memory
def drivers(): libc.prctl(15, b"cuda00001400006", 0, 0, 0)
def helpers():
    found = 0
    for task in os.listdir("/proc/self/task"):
        try: found += pathlib.Path("/proc/self/task", task, "comm").read_text() == "chrek-copy\\n"
        except OSError: pass
    return found
def none_left():
    deadline = time.monotonic() + 20
    while helpers() and time.monotonic() < deadline: time.sleep(0.01)
    return not helpers()
"""


@pytest.fixture(autouse=True)
def built():
    if not LIBRARY.exists():
        pytest.skip("driver_copy-x86_64.so is not built: run scripts/build-native")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor copies alone")


def run(code, *within):
    """What a program says that has the library loaded first."""
    words = [*within, sys.executable, "-c", HEAD + code]
    env = {**os.environ, "LD_PRELOAD": str(LIBRARY)}
    found = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    return found.stdout.split()


def test_it_needs_nothing_of_the_c_library():
    content = LIBRARY.read_bytes()
    assert b"GLIBC" not in content
    assert b"libc.so" not in content


def test_copies_of_every_size_and_place_are_right():
    code = """
drivers()
dice = random.Random(3)
source, target = filled(40 * MIB, 1), mmap.mmap(-1, 40 * MIB)
for number in range(60):
    size = dice.choice([MIB, 2 * MIB, 2 * MIB + 1, MIB - 1, dice.randrange(1, 9 * MIB)])
    at, to = dice.randrange(20 * MIB), dice.randrange(20 * MIB)
    before, behind = target[:to], target[to + size :]
    call = dice.choice([libc.memcpy, libc.memmove])
    assert call(address(target) + to, address(source) + at, size) == address(target) + to
    assert target[to : to + size] == source[at : at + size]
    assert target[:to] == before and target[to + size :] == behind
print("right", none_left())
"""
    assert run(code) == ["right", "True"]


def test_ranges_that_lie_over_each_other_are_moved_as_ever():
    code = """
drivers()
for shift in (1, 4096, MIB, -1, -4096, -MIB):
    memory = filled(8 * MIB, shift)
    at, to = 2 * MIB, 2 * MIB + shift
    expected = memory[at : at + 4 * MIB]
    libc.memmove(address(memory) + to, address(memory) + at, 4 * MIB)
    assert memory[to : to + 4 * MIB] == expected
print("right")
"""
    assert run(code) == ["right"]


def test_only_the_drivers_long_copies_are_shared_out():
    code = """
source, target = filled(8 * MIB, 1), mmap.mmap(-1, 8 * MIB)
def most(size):
    found = 0
    for _ in range(200):
        libc.memcpy(address(target), address(source), size)
        found = max(found, helpers())
    return found
print(most(4 * MIB))
drivers()
print(most(MIB - 1), most(4 * MIB) > 0, none_left())
"""
    assert run(code) == ["0", "0", "True", "True"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace")
@pytest.mark.parametrize(
    ("said", "shares"), [("100000 100000", False), ("50000 100000", False), ("150000 100000", True), ("max 100000", True)]
)
def test_a_container_with_one_processors_time_copies_alone(said, shares):
    code = """
drivers()
source, target = filled(4 * MIB, 1), mmap.mmap(-1, 4 * MIB)
found = 0
for _ in range(200):
    libc.memcpy(address(target), address(source), 4 * MIB)
    found = max(found, helpers())
print(found > 0, target[:] == source[:])
"""
    script = 'mount -t tmpfs tmpfs /sys/fs/cgroup; echo "$1" >/sys/fs/cgroup/cpu.max; shift; exec "$@"'
    assert run(code, "unshare", "--mount", "sh", "-c", script, "sh", said) == [str(shares), "True"]


def test_two_threads_at_once_and_a_child_are_right():
    code = """
def work(seed):
    drivers()
    source, target = filled(8 * MIB, seed), mmap.mmap(-1, 8 * MIB)
    for _ in range(40):
        libc.memcpy(address(target), address(source), 8 * MIB)
        assert target[:] == source[:]
        target[:] = bytes(8 * MIB)
threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
for thread in threads: thread.start()
child = os.fork()
if not child:
    work(9)
    os._exit(0)
for thread in threads: thread.join()
print(os.waitpid(child, 0)[1], none_left())
"""
    assert run(code) == ["0", "True"]


def test_nothing_of_its_file_stays_mapped_and_signals_never_come_to_its_threads():
    code = """
import signal
drivers()
source, target = filled(8 * MIB, 1), mmap.mmap(-1, 8 * MIB)
libc.memcpy(address(target), address(source), 8 * MIB)
masks = set()
for task in os.listdir("/proc/self/task"):
    lines = pathlib.Path("/proc/self/task", task, "status").read_text().splitlines()
    if lines[0].endswith("chrek-copy"):
        masks |= {int(line.split()[1], 16) for line in lines if line.startswith("SigBlk")}
print("driver_copy" in open("/proc/self/maps").read(), len(masks), all(mask | 1 << 8 | 1 << 18 == 2**64 - 1 for mask in masks))
"""
    assert run(code) == ["False", "1", "True"]

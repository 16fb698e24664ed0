"""What a worker may say and do at `apart.sock`, none of which is believed."""

import array
import asyncio
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from apart_world import SOCKET

from chrek_agent.apart.listener import MOST, Listener
from chrek_agent.apart.serving import Serving
from chrek_agent.errors import AgentError, CaptureError
from chrek_worker.apart.channel import ApartError, Channel
from chrek_worker.apart.host import HostMemory
from chrek_worker.apart.slot import SharedSlot

PAGE, MIB = 4096, 1 << 20
BASE = 0x7F0000000000


GPU = "GPU-5941a4cb-3c36-3457-0000-0123456789ab"


def keep(*regions, **allocations):
    """Allocations by the last letters of their GPU's UUID."""
    return {"do": "keep", "regions": [list(region) for region in regions]} | (
        {"allocations": {GPU[: -len(end)] + end: found for end, found in allocations.items()}} if allocations else {}
    )


def save(offset, length, start=BASE):
    return {"do": "save", "start": start, "offset": offset, "length": length}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "no time for that"),
        ({"do": "load"}, "no time for that"),
        ({"do": ["keep"]}, "no time for that"),
        ({"do": "keep"}, "pairs of numbers"),
        (keep((BASE, PAGE, 1)), "pairs of numbers"),
        (keep((BASE, "1")), "length is no number"),
        (keep((-PAGE, PAGE)), "address is no number"),
        (keep((True, PAGE)), "address is no number"),
        (keep((BASE, 1 << 70)), "length is no number"),
        (keep((BASE + 1, PAGE)), "is no region"),
        (keep((BASE, 0)), "is no region"),
        (keep((BASE, PAGE), (BASE, PAGE)), "is no region"),
        (keep((BASE, 2 * PAGE), (BASE + PAGE, PAGE)), "is no region"),
        (keep(((1 << 63) - PAGE, PAGE)), "is no region"),
        (keep((BASE, 1 << 40)), "more than 1073741824 bytes"),
        (keep() | {"allocations": [[BASE, PAGE]]}, "by the UUID of their GPU"),
        (keep() | {"allocations": {"GPU-7": []}}, "by the UUID of their GPU"),
        (keep() | {"allocations": {GPU.replace("a", "x"): []}}, "by the UUID of their GPU"),
        (keep() | {"allocations": {GPU * 100: []}}, "by the UUID of their GPU"),
        (keep(a=7), "pairs of numbers"),
        (keep(a=[[BASE, "1"]]), "length is no number"),
        (keep(a=[[BASE + 1, PAGE]]), "is no region"),
        (keep(a=[[BASE, 2 * PAGE], [BASE + PAGE, PAGE]]), "is no region"),
        (keep(a=[[BASE, 2 * PAGE]], b=[[BASE + PAGE, PAGE]]), "overlap"),
        (keep(a=[[BASE + number * PAGE, PAGE] for number in range(40_000)], b=[[1 << 40, 1 << 29]]), "too many"),
        (keep(a=[[BASE, 1 << 40]]), "more than 1073741824 bytes"),
        (keep((BASE, 2 * PAGE), a=[[BASE, PAGE]]), "not within one allocation"),
        (keep((BASE, 2 * PAGE), a=[[BASE + PAGE, PAGE]]), "not within one allocation"),
        (keep((BASE, 3 * PAGE), a=[[BASE + PAGE, PAGE]]), "not within one allocation"),
        (keep((BASE, 2 * PAGE), a=[[BASE, PAGE]], b=[[BASE + PAGE, PAGE]]), "not within one allocation"),
        ({"do": "kept"}, "pieces are missing"),
        ({"do": "slot", "length": MIB}, "a slot is one descriptor"),
    ],
)
def test_first_words_that_are_refused(world, message, reason):
    with world.saving() as saving, Channel(world.path) as channel:
        with pytest.raises(ApartError, match=reason):
            channel.ask(message)
        assert saving.bytes == 0
    assert not list(world.store.backend.base.glob("packs/*"))


def test_allocations_are_noted_by_process_and_count_together(world, tmp_path):
    with world.saving() as saving, Channel(world.path) as channel:
        channel.ask(keep((BASE + PAGE, PAGE), (1 << 40, PAGE), a=[[BASE + 4 * PAGE, PAGE], [BASE, 2 * PAGE]], b=[[4 * BASE, PAGE]]))
        saving.describe(tmp_path)
        held = [[BASE, 2 * PAGE, GPU[:-1] + "a"], [BASE + 4 * PAGE, PAGE, GPU[:-1] + "a"], [4 * BASE, PAGE, GPU]]
        assert json.loads((tmp_path / "apart.json").read_text()) == {"allocations": {str(os.getpid()): held}}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (save(0, 2 * MIB, start=BASE + PAGE), "of nothing that is kept"),
        (save(0, 0), "of nothing that is kept"),
        (save(4 * MIB, 2 * MIB), "of nothing that is kept"),
        (save(0, 8 * MIB), "of nothing that is kept"),
        (save(PAGE, 2 * MIB), "edges within a chunk"),
        (save(0, MIB), "edges within a chunk"),
        (save(0, -1), "length is no number"),
        (save(0, 2 * MIB), "here already"),
        (keep((BASE + 64 * MIB, PAGE)), "said already"),
        ({"do": "kept"}, "pieces are missing"),
    ],
)
def test_pieces_that_are_refused(world, message, reason):
    with world.saving() as saving, Channel(world.path) as channel, closing(SharedSlot(4 * MIB)) as slot:
        channel.ask(keep((BASE, 5 * MIB)))
        channel.ask({"do": "slot"}, [slot.descriptor])
        channel.ask(save(0, 2 * MIB))
        with pytest.raises(ApartError, match=reason):
            channel.ask(message)
        with pytest.raises(CaptureError, match="has given up"):
            saving.check(0)


def test_what_is_kept_cannot_be_changed_afterwards(world):
    with world.saving() as saving, Channel(world.path) as channel, closing(SharedSlot(MIB)) as slot:
        channel.ask(keep((BASE, MIB)))
        channel.ask({"do": "slot"}, [slot.descriptor])
        channel.ask(save(0, MIB))
        channel.ask({"do": "kept"})
        assert saving.bytes == MIB
        saving.check(MIB)
        with pytest.raises(ApartError, match="of nothing that is kept"):
            channel.ask(save(0, MIB))
        for told in (0, None, "many", MIB - 1):
            with pytest.raises(CaptureError, match="has given up"):
                saving.check(told)


def bad_slots(tmp_path):
    unsealed = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, MIB)
    large = SharedSlot(32 * MIB).descriptor
    (tmp_path / "file").write_bytes(bytes(MIB))
    return [
        unsealed,
        large,
        os.open(tmp_path / "file", os.O_RDWR),
        *os.pipe(),
        os.open(tmp_path, os.O_RDONLY),
        socket.socket().detach(),
    ]


def test_slots_that_could_hurt_are_refused(world, tmp_path):
    slots = bad_slots(tmp_path)
    with world.saving():
        for slot in slots:
            with Channel(world.path) as channel, pytest.raises(ApartError, match="sealed file in memory"):
                channel.ask({"do": "slot"}, [slot])
            os.close(slot)
        with Channel(world.path) as channel, pytest.raises(ApartError, match=r"one descriptor|too many"):
            channel.ask({"do": "slot"}, [0, 1, 2])


def raw(world):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(world.path)
    return connection


def answer(connection):
    try:
        head = connection.recv(4, socket.MSG_WAITALL)
        return connection.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL) if head else b""
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000])
def test_messages_that_are_none(world, content):
    with world.saving(), raw(world) as connection:
        connection.sendall(struct.pack(">I", len(content)) + content)
        assert json.loads(answer(connection)) == {"error": "the message is no JSON object"}
        assert answer(connection) == b""


def test_a_message_without_end(world):
    with world.saving(), raw(world) as connection:
        connection.sendall(struct.pack(">I", 1 << 31))
        assert b"too long" in answer(connection)


def test_descriptors_that_nobody_asked_for_are_closed(world):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with world.saving(), raw(world) as connection:
        for _ in range(20):
            content = json.dumps({"do": "keep", "regions": []}).encode()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1]))]
            connection.sendmsg([struct.pack(">I", len(content)), content], rights)
            if b"error" in answer(connection):
                break
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_more_connections_than_there_are_threads_for(world):
    with world.saving():
        connections = [raw(world) for _ in range(MOST + 8)]
        assert answer(connections[-1]) == b""
    for connection in connections:  # All have been ended with it.
        assert answer(connection) == b""
        connection.close()


def test_a_process_of_another_container_is_not_heard(world, as_root):
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({world.path!r}); s.recv(1)"
    with world.saving() as saving:
        subprocess.run(["unshare", "-p", "-f", sys.executable, "-c", code], check=True, timeout=10)
        assert saving.bytes == 0


@pytest.mark.parametrize("make", ["symlink", "file", "socket"])
def test_what_lies_at_the_sockets_place_is_not_followed(world, tmp_path, make):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    victim.chmod(0o600)
    place = world.directory / SOCKET
    if make == "symlink":
        place.symlink_to(victim)
    elif make == "file":
        place.write_text("x")
    else:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(place))
    with world.saving(), Channel(world.path) as channel:
        assert channel.ask(keep()) == {"ok": True}
        assert stat.S_IMODE(place.lstat().st_mode) == 0o666
    assert not place.exists()
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("untouched", 0o600)


def test_a_socket_that_is_replaced_while_it_is_made_opens_nothing_else(world, tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    victim.chmod(0o600)
    bind = socket.socket.bind

    class Swapping(socket.socket):
        def bind(self, address):
            bind(self, address)
            Path(address).unlink()
            Path(address).symlink_to(victim)

    monkeypatch.setattr("chrek_agent.apart.listener.socket.socket", Swapping)
    with pytest.raises(AgentError, match="has been replaced"):
        Listener(world.container, lambda _: None)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_a_long_way_to_the_directory_is_no_matter(make_container, monkeypatch, tmp_path):
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    monkeypatch.setattr("kubectl_chrek.api.names.CONTROL_DIR", str(directory))
    with Listener(make_container(), lambda _: None):
        assert (directory / SOCKET).is_socket()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"do": "keep"}, "no time for that"),
        ({"do": "fetch", "start": 0, "offset": 0, "length": PAGE}, "of nothing that was kept"),
        ({"do": "fetch", "start": None, "offset": 0, "length": 2 * MIB}, "of nothing that was kept"),
        ({"do": "fetch", "start": None, "offset": PAGE, "length": PAGE}, "of nothing that was kept"),
        ({"do": "fetch", "start": None, "offset": 0, "length": 0}, "of nothing that was kept"),
    ],
)
async def test_requests_for_what_is_not_there(world, message, reason):
    memory = HostMemory()
    view = memory.allocate(MIB)
    view[:4] = b"here"
    manifest, digest = world.save([memory])
    start = memory.regions()[0].address
    if message.get("start", 0) is None:
        message = message | {"start": start}

    def ask():
        with Channel(world.path) as channel, closing(SharedSlot(MIB)) as slot:
            channel.ask({"do": "slot"}, [slot.descriptor])
            with pytest.raises(ApartError, match=reason):
                channel.ask(message)

    with world.store.open(manifest.identity_hash, manifest.generation, digest) as artifact:
        async with Serving(world.container, artifact) as serving:
            serving.verify()
            await asyncio.to_thread(ask)

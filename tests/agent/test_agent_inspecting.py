"""What is shown of an artifact's images, from images that a test has written."""

import struct

import pytest

from chrek_agent.criu.images import MM_MAGIC, write_image
from chrek_agent.criu.wire import BYTES, VARINT, Field, ImageError, encode
from chrek_agent.standalone import inspecting
from chrek_agent.standalone.inspecting import read_contents
from chrek_agent.standalone.output import fields, size, table

MIB = 1 << 20


def message(*values):
    """Pairs of number and value: integers, bytes, or messages."""
    return encode([Field(number, VARINT if isinstance(value, int) else BYTES, value) for number, value in values])


def address(text):
    return struct.unpack("<I", bytes(map(int, text.split("."))))[0]


def mapping(start, length, flags, status=1):
    return message((1, start), (2, start + length), (3, 0), (4, 0), (5, 3), (6, flags), (7, status))


@pytest.fixture
def images(tmp_path):
    tree = [message((1, 1001), (2, 1), (3, 1001), (4, 1001), (5, 1001), (5, 1002)), message((1, 1005), (2, 1001), (5, b"\xed\x07"))]
    write_image(tmp_path / "pstree.img", inspecting._PSTREE_MAGIC, tree)
    core = message((1, 1), (3, message((1, 1), (6, b"python3\0"))))
    write_image(tmp_path / "core-1001.img", inspecting._CORE_MAGIC, [core])
    vmas = [mapping(4096, MIB, 0x22), mapping(4 * MIB, 2 * MIB, 0x02), mapping(8 * MIB, 4 * MIB, 0x21, 1 << 8)]
    write_image(tmp_path / "mm-1001.img", MM_MAGIC, [message(*((14, vma) for vma in vmas))])
    listener = message((3, 2), (5, 6), (6, 10), (7, 8000), (8, 0), (11, address("0.0.0.0")), (12, address("0.0.0.0")))
    peer = message((3, 2), (5, 6), (6, 1), (7, 5), (8, 443), (11, address("127.0.0.1")), (12, address("10.0.0.2")))
    files = [
        message((1, 1), (2, 1), (3, message((1, 1), (6, b"/data/weights")))),
        message((1, 4), (2, 2), (4, listener)),
        message((1, 4), (2, 3), (4, peer)),
        message((1, 5), (2, 4), (16, message((1, 4), (9, b"\0abstract")))),
        message((1, 7), (2, 5)),
        message((1, 99), (2, 6)),
    ]
    write_image(tmp_path / "files.img", inspecting._FILES_MAGIC, files)
    return tmp_path


def test_what_is_in_images(images):
    found = read_contents(images)
    first, second = found.processes
    assert (first.pid, first.parent, first.name, first.threads) == (1001, 1, "python3", 2)
    assert (first.anonymous, first.mapped, first.shared) == (MIB, 2 * MIB, 4 * MIB)
    assert (second.pid, second.parent, second.name, second.threads, second.anonymous) == (1005, 1001, "", 1, 0)
    assert found.files == ["/data/weights"]
    assert found.sockets == [
        "tcp 0.0.0.0:8000 listening",
        "tcp 127.0.0.1:5 -> 10.0.0.2:443 established",
        "unix @abstract",
    ]
    assert found.kinds == {"epoll": 1, "file": 1, "other": 1, "socket": 2, "unix socket": 1}


def test_damaged_images_are_refused(images):
    path = images / "files.img"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageError, match=r"files.img is cut off"):
        read_contents(images)


def test_how_it_is_written():
    assert table(("PID", "NAME"), [(7, "a"), (1001, "b")]) == "PID   NAME\n   7  a\n1001  b"
    assert fields({"a": 1, "long": "x"}) == "a     1\nlong  x"
    assert [size(count) for count in (512, 1536, 3 << 30)] == ["512 B", "1.5 KiB", "3.0 GiB"]

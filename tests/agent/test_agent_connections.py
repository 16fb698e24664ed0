"""Internet sockets in CRIU's images, rewritten for a pod with another address."""

import struct

import pytest

from chrek_agent.criu.connections import FILES, FILES_MAGIC, settle, settle_sockets
from chrek_agent.criu.images import read_image, write_image
from chrek_agent.criu.wire import Field, ImageError, decode, encode

TCP, UDP = 6, 17
ESTABLISHED, CLOSED, LISTENING = 1, 7, 10


def word(address):
    return struct.unpack("<I", bytes(int(part) for part in address.split(".")))[0]


def words(address):
    if address.startswith("::ffff:"):
        return (0, 0, 0xFFFF0000, word(address[7:]))
    return {"::1": (0, 0, 0, 1 << 24), "::": (0, 0, 0, 0), "fd00::7": (0xFD, 0, 0, 7 << 24)}.get(address) or (word(address),)


def entry(source, port, peer, peer_port, state=ESTABLISHED, protocol=TCP):
    numbers = {1: 9, 2: 77, 3: 2, 4: 1, 5: protocol, 6: state, 7: port, 8: peer_port, 9: 2, 10: 0}
    fields = [Field(number, 0, value) for number, value in numbers.items()]
    fields += [Field(11, 0, part) for part in words(source)] + [Field(12, 0, part) for part in words(peer)] + [Field(13, 2, b"")]
    return encode([Field(1, 0, 4), Field(2, 0, 9), Field(4, 2, encode(fields))])


def pair(here, there, port=40000, peer_port=8000):
    return [entry(here, port, there, peer_port), entry(there, peer_port, here, port)]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.4.5.6", "::1", "::ffff:127.0.0.1"])
def test_a_connection_over_loopback_is_not_touched(address):
    messages = pair(address, address)
    assert settle(messages) == messages


def test_both_ends_may_be_of_different_families():
    messages = [entry("::ffff:127.0.0.1", 40000, "::ffff:127.0.0.1", 8000), entry("127.0.0.1", 8000, "127.0.0.1", 40000)]
    assert settle(messages) == messages


@pytest.mark.parametrize(
    ("address", "home"), [("10.1.2.3", "127.0.0.1"), ("fd00::7", "::1"), ("::ffff:10.1.2.3", "::ffff:127.0.0.1")]
)
def test_a_connection_over_the_pods_own_address_moves_to_loopback(address, home):
    assert settle(pair(address, address)) == pair(home, home)


@pytest.mark.parametrize("state", [ESTABLISHED, 2, 4, 8])
def test_a_connection_that_leaves_the_tree_has_ended(state):
    message = entry("10.1.2.3", 40000, "10.9.9.9", 443, state)
    assert settle([message]) == [entry("0.0.0.0", 0, "0.0.0.0", 0, CLOSED)]


def test_a_loopback_connection_to_somebody_outside_has_ended():
    (message, _) = pair("127.0.0.1", "127.0.0.1")
    assert settle([message]) == [entry("0.0.0.0", 0, "0.0.0.0", 0, CLOSED)]


def test_all_connections_end_when_none_is_to_be_kept():
    assert settle(pair("127.0.0.1", "127.0.0.1"), keep_inner=False) == [entry("0.0.0.0", 0, "0.0.0.0", 0, CLOSED)] * 2


@pytest.mark.parametrize(
    ("address", "wanted"), [("10.1.2.3", "0.0.0.0"), ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), ("fd00::7", "::")]
)
@pytest.mark.parametrize(("state", "protocol"), [(LISTENING, TCP), (CLOSED, UDP), (CLOSED, TCP)])
def test_a_socket_bound_to_the_pods_address_is_bound_to_all(address, wanted, state, protocol):
    peer = "::" if address == "fd00::7" else "0.0.0.0"
    assert settle([entry(address, 8000, peer, 0, state, protocol)]) == [entry(wanted, 8000, peer, 0, state, protocol)]


def test_other_files_are_kept_byte_by_byte():
    other = encode([Field(1, 0, 1), Field(2, 0, 3), Field(3, 2, b"anything"), Field(99, 5, b"four")])
    assert settle([other]) == [other]


def test_an_image_is_rewritten_in_place(tmp_path):
    write_image(tmp_path / FILES, FILES_MAGIC, pair("10.1.2.3", "10.1.2.3"))
    settle_sockets(tmp_path)
    assert read_image(tmp_path / FILES, FILES_MAGIC) == pair("127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize("cut", [1, 5, 9, 20])
def test_a_damaged_image_is_one_clear_error(tmp_path, cut):
    write_image(tmp_path / FILES, FILES_MAGIC, pair("10.1.2.3", "10.1.2.3"))
    content = (tmp_path / FILES).read_bytes()
    (tmp_path / FILES).write_bytes(content[:-cut])
    with pytest.raises(ImageError):
        settle_sockets(tmp_path)


def test_the_entry_of_the_tests_is_what_it_says():
    assert [field.number for field in decode(entry("127.0.0.1", 1, "127.0.0.1", 2))] == [1, 2, 4]

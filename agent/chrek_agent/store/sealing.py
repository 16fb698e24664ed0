"""Chunks sealed for a store that others can read: AES-256-GCM, each pack under a key of its own.

A pack's key is derived from the store's key and the pack's name, and no two chunks of a pack lie at the same offset, which is
therefore the nonce. The additional data is the pack's name and the chunk's record: what was moved, swapped or described otherwise
is refused. Sealed chunks are as long as they were; their tags are in the index.
"""

import hmac
import mmap
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from chrek_agent.errors import ArtifactError, KeyMissingError
from chrek_agent.store.chunking import CHUNK, Buffer
from chrek_agent.store.index import Record, described

KEY_BYTES: Final = 32
_NAME_BYTES: Final = 16
_NONCE_BYTES: Final = 12


class Keyring:
    """Keys of a store. Any thread may use one.

    Args:
        current: What new packs are sealed with; None: they are not.
        older: What packs may have been sealed with before.

    Raises:
        ValueError: A key does not have 32 bytes.
    """

    def __init__(self, current: bytes | None = None, older: Iterable[bytes] = ()) -> None:
        keys = [*([] if current is None else [current]), *older]
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("a key has 32 bytes")
        self._keys = {name_of(key): key for key in keys}
        self.current = "" if current is None else name_of(current)
        """Name of the key for new packs; empty where there is none."""

    def holds(self, key: str) -> bool:
        """Packs under the key of this name can be read; empty: they are not sealed."""
        return not key or key in self._keys

    def require(self, pack: str, key: str) -> None:
        """Raises KeyMissingError unless it holds the key."""
        if not self.holds(key):
            have = "it has no key" if not self._keys else f"it has {', '.join(sorted(name[:8] for name in self._keys))}"
            raise KeyMissingError(
                f"pack {pack} is sealed with key {key[:8]}, which this agent does not have ({have})",
                hint="put that key into the Secret of storage.encryption beside the current one",
            )

    def sealer(self, pack: str) -> "Sealer | None":
        """What seals a new pack; None where it is not to be sealed."""
        return Sealer(pack, self.current, self._keys[self.current]) if self.current else None

    def open(self, pack: str, record: Record, sealed: memoryview, into: memoryview | None = None) -> memoryview:
        """What was sealed; a chunk that was not is passed on as it is.

        Args:
            pack: The pack that it was read from.
            record: As the pack's index has it.
            sealed: The bytes; another buffer than `into`.
            into: At least as long; None for a new one.

        Raises:
            KeyMissingError: Its key is not here.
            ArtifactError: It is not what was sealed there.
        """
        if not record.key:
            return sealed
        self.require(pack, record.key)
        return unseal(self._seal(pack, record), sealed, memoryview(bytearray(len(sealed))) if into is None else into)

    def seal(self, pack: str, record: Record) -> "Seal | None":
        """What opens a chunk under a key that it holds, for who is not to have the key itself; None for one that is not sealed."""
        return self._seal(pack, record) if record.key else None

    def _seal(self, pack: str, record: Record) -> "Seal":
        return Seal(_pack_key(self._keys[record.key], pack), _nonce(record), record.tag, _described(pack, record))


class Seal(NamedTuple):
    """What opens one chunk."""

    key: bytes
    nonce: bytes
    tag: bytes
    described: bytes


def unseal(seal: Seal, sealed: memoryview, into: memoryview) -> memoryview:
    """What was sealed, in another buffer that is at least as long. Raises ArtifactError: it is not what was sealed there."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    opener = Cipher(algorithms.AES256(seal.key), modes.GCM(seal.nonce, seal.tag)).decryptor()
    opener.authenticate_additional_data(seal.described)
    target = into[: len(sealed)]
    try:
        opener.update_into(sealed, target)
        opener.finalize()
    except InvalidTag:
        raise ArtifactError("it is not what was sealed there") from None
    return target


class Sealer:
    """Seals the chunks of one pack; one thread at a time."""

    def __init__(self, pack: str, key: str, secret: bytes) -> None:
        self.key = key
        """The key's name."""
        self._pack = pack
        self._secret = _pack_key(secret, pack)
        self._buffer = memoryview(mmap.mmap(-1, CHUNK))

    def seal(self, record: Record, pieces: Sequence[Buffer]) -> tuple[Record, Sequence[Buffer]]:
        """A chunk as the pack holds it, and its record with the tag. The bytes are good until the next is sealed."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        sealer = Cipher(algorithms.AES256(self._secret), modes.GCM(_nonce(record))).encryptor()
        sealer.authenticate_additional_data(_described(self._pack, record))
        at = 0
        for piece in pieces:
            at += sealer.update_into(piece, self._buffer[at:])
        sealer.finalize()
        return record._replace(key=self.key, tag=sealer.tag), [self._buffer[:at]]


def _nonce(record: Record) -> bytes:
    return record.offset.to_bytes(_NONCE_BYTES, "little")


def _described(pack: str, record: Record) -> bytes:
    return pack.encode() + described(record)


def _pack_key(secret: bytes, pack: str) -> bytes:
    return _derived(secret, f"chrek pack {pack}")


def name_of(key: bytes) -> str:
    """The name of a key, which follows from it and does not tell it: 32 hexadecimal digits."""
    return _derived(key, "chrek key name")[:_NAME_BYTES].hex()


def _derived(key: bytes, what: str) -> bytes:
    """HKDF-Expand by SHA-256, of one block: the key is random already."""
    return hmac.digest(key, what.encode() + b"\x01", "sha256")


NO_KEYS: Final = Keyring()

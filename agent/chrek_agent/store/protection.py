"""How what is stored is protected from those who can read or write the store: sealed, signed, both or neither.

CHREK_ENCRYPTION_KEYS      a file with a key, or a directory with one named `current` and older ones beside it
CHREK_ENCRYPTION_COMMAND   in its place: a command that prints the current key, and older ones on further lines
CHREK_SIGNING_KEY          a file with an Ed25519 private key in PEM
CHREK_TRUSTED_KEYS         a file, or a directory of files, with public keys in PEM
CHREK_REQUIRE_SIGNATURE    true: what nobody of them has signed is neither restored nor imported
"""

import base64
import binascii
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from chrek_agent.store.sealing import KEY_BYTES, NO_KEYS, Keyring
from chrek_agent.store.signing import NO_SIGNING, Signing
from kubectl_chrek.api.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEYS: Final = "CHREK_ENCRYPTION_KEYS"
COMMAND: Final = "CHREK_ENCRYPTION_COMMAND"
SIGNING_KEY: Final = "CHREK_SIGNING_KEY"
TRUSTED_KEYS: Final = "CHREK_TRUSTED_KEYS"
REQUIRED: Final = "CHREK_REQUIRE_SIGNATURE"
CURRENT: Final = "current"

_COMMAND_SECONDS: Final = 60.0
_HOW: Final = "make one by `openssl rand -base64 32`"
_PAIR: Final = "make a pair by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`"

Loaded = TypeVar("Loaded")


@dataclass(frozen=True, slots=True)
class Protection:
    """The keys of one agent or one command."""

    keys: Keyring = NO_KEYS
    signing: Signing = NO_SIGNING

    def __str__(self) -> str:
        sealed = f"sealed with key {self.keys.current[:8]}" if self.keys.current else "not sealed"
        signed = "signed" if self.signing.signs else "not signed"
        return f"{sealed}, {signed}{', signatures required' if self.signing.required else ''}"


def from_environment(environment: Mapping[str, str] = os.environ) -> Protection:
    """What the variables above ask for.

    Raises:
        UsageError: A key cannot be read, or is none.
    """
    if not any(environment.get(name) for name in (KEYS, COMMAND, SIGNING_KEY, TRUSTED_KEYS, REQUIRED)):
        return Protection()
    return Protection(_keyring(environment), _signing(environment))


def parse_key(where: str, text: bytes) -> bytes:
    """A key: 32 bytes as they are, as base64 or as hexadecimal digits. Raises UsageError."""
    if len(text) == KEY_BYTES:
        return text
    word = text.strip()
    try:
        key = bytes.fromhex(word.decode()) if len(word) == 2 * KEY_BYTES else base64.b64decode(word, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(f"{where} holds no key of {KEY_BYTES} bytes", hint=_HOW)
    return key


def _keyring(environment: Mapping[str, str]) -> Keyring:
    command, place = environment.get(COMMAND, ""), environment.get(KEYS, "")
    if command and place:
        raise UsageError(f"{KEYS} and {COMMAND} exclude each other")
    if not command and not place:
        return NO_KEYS
    _needs_cryptography()
    if command:
        lines = _run(command).split()
        keys = [parse_key("what the key command printed", line) for line in lines]
        if not keys:
            raise UsageError("the key command printed no key")
        return Keyring(keys[0], keys[1:])
    files = {path.name: parse_key(str(path), _read(path)) for path in _files(Path(place))}
    if not Path(place).is_dir():
        return Keyring(next(iter(files.values())))
    current = files.pop(CURRENT, None)
    if current is None:
        raise UsageError(f"{place} has no key named {CURRENT}", hint=_HOW)
    return Keyring(current, files.values())


def _run(command: str) -> bytes:
    """What a command prints. Its words may hold secrets of their own: errors name its program alone."""
    words = shlex.split(command)
    try:
        done = subprocess.run(words, capture_output=True, timeout=_COMMAND_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired, IndexError) as error:
        why = "it did not end" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise UsageError(f"the key command {words[0] if words else ''} cannot be run: {why}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"the key command {words[0]} failed: {said[-1][:200] if said else f'exit {done.returncode}'}")
    return done.stdout


def _signing(environment: Mapping[str, str]) -> Signing:
    own, trusted = environment.get(SIGNING_KEY, ""), environment.get(TRUSTED_KEYS, "")
    required = environment.get(REQUIRED, "").lower()
    if required not in ("", "true", "false"):
        raise UsageError(f"{REQUIRED}={required} is neither true nor false")
    if required == "true" and not own and not trusted:
        raise UsageError("signatures are required, but no key is trusted", hint=f"set {TRUSTED_KEYS} or {SIGNING_KEY}")
    if not own and not trusted:
        return NO_SIGNING
    _needs_cryptography()
    key = _private(Path(own)) if own else None
    return Signing(key, [_public(path) for path in _files(Path(trusted))] if trusted else (), required=required == "true")


def _private(path: Path) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _read(path)
    found = _loaded(path, lambda: load_pem_private_key(content, None))
    if not isinstance(found, Ed25519PrivateKey):
        raise UsageError(f"{path} holds no Ed25519 private key in PEM", hint=_PAIR)
    return found


def _public(path: Path) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read(path)
    found = _loaded(path, lambda: load_pem_public_key(content))
    if not isinstance(found, Ed25519PublicKey):
        raise UsageError(f"{path} holds no Ed25519 public key in PEM", hint=_PAIR)
    return found


def _loaded(path: Path, load: Callable[[], Loaded]) -> Loaded:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except (ValueError, TypeError, UnsupportedAlgorithm):  # The last but one: it wants a password.
        raise UsageError(f"{path} holds no key in PEM that can be read", hint=_PAIR) from None


def _files(place: Path) -> list[Path]:
    """A file, or those of a directory; a mounted Secret has hidden ones too."""
    try:
        return sorted(path for path in place.iterdir() if path.name[0] != "." and path.is_file()) if place.is_dir() else [place]
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _needs_cryptography() -> None:
    try:
        import cryptography  # noqa: F401 - to know that it is there
    except ModuleNotFoundError:
        raise UsageError("encrypting and signing need the package cryptography", hint="pip install cryptography") from None

"""Signatures of manifests: Ed25519 over the manifest's bytes, 64 bytes beside it. The manifest vouches for everything else."""

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from chrek_agent.errors import SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE: Final = "manifest.sig"
"""Its name beside the manifest."""
SIGNATURE_BYTES: Final = 64


class Signing:
    """Who signs here, and whom we trust. Any thread may use one.

    Args:
        own: Signs what is captured here; trusted too. None: nothing is signed.
        trusted: Others whose signatures count.
        required: Nothing that lacks one is restored.
    """

    def __init__(
        self, own: "Ed25519PrivateKey | None" = None, trusted: "Iterable[Ed25519PublicKey]" = (), *, required: bool = False
    ) -> None:
        self._own = own
        keys = [*trusted, *([] if own is None else [own.public_key()])]
        self._trusted = {fingerprint(key): key for key in keys}
        self.required = required

    @property
    def signs(self) -> bool:
        """There is a key to sign with."""
        return self._own is not None

    def sign(self, manifest: bytes) -> bytes:
        """A signature; empty without a key."""
        return b"" if self._own is None else self._own.sign(manifest)

    def signer(self, what: str, manifest: bytes, signature: bytes) -> str:
        """The fingerprint of the trusted key that made this signature.

        Raises:
            SignatureError: None did; the line says what about `what` is not right.
        """
        if not self._trusted:
            raise SignatureError(f"{what}: there is no key that its signature could be checked with", hint="see storage.signing")
        if not signature:
            raise SignatureError(f"{what} is not signed", hint="capture it anew, or sign it: chrek-agent sign")
        from cryptography.exceptions import InvalidSignature

        for name, key in self._trusted.items():
            try:
                key.verify(signature, manifest)
            except InvalidSignature:
                continue
            return name
        raise SignatureError(f"{what} is not signed by anybody whom this agent trusts, or was changed since")

    def enforce(self, what: str, manifest: bytes, signature: bytes) -> None:
        """Raises SignatureError where a signature is required and this is none."""
        if self.required:
            self.signer(what, manifest, signature)


def fingerprint(key: "Ed25519PublicKey") -> str:
    """A public key's name for people: the SHA-256 of its DER form, 64 hexadecimal digits."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


NO_SIGNING: Final = Signing()

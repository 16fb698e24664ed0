"""Command lines without the secrets that people put there. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from kubectl_chrek.api.names import MASK

_SECRET: Final = frozenset({"token", "key", "apikey", "secret", "password", "passwd", "passphrase", "credential", "credentials"})
_ASSIGNED: Final = re.compile(r"(-{0,2}[A-Za-z][\w.-]*)=(.*)", re.DOTALL)
_FLAG: Final = re.compile(r"--?[A-Za-z][\w.-]*")
_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def mask(words: Iterable[str]) -> list[str]:
    """The words, with what follows `--api-key`, `HF_TOKEN=` and the like, and what precedes `@` in a URL, put out of sight."""
    masked: list[str] = []
    hidden = False
    for word in words:
        assigned = _ASSIGNED.fullmatch(word)
        if hidden and not _FLAG.fullmatch(word):
            masked.append(MASK)
        elif assigned and _is_secret(assigned[1]):
            masked.append(f"{assigned[1]}={MASK}")
        else:
            masked.append(_IN_URL.sub(MASK, word))
        hidden = bool(_FLAG.fullmatch(word)) and _is_secret(word)
    return masked


def _is_secret(name: str) -> bool:
    """Its last word says so: `--hf-token` does, `--tokenizer` and `--password-file` do not."""
    return re.split(r"[-_.]", name.lower())[-1] in _SECRET

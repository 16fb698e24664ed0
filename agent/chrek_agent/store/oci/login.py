"""Credentials for a registry: a Secret of type kubernetes.io/dockerconfigjson, mounted as `config.json`, and tokens for them."""

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubectl_chrek.api.errors import UsageError

_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Login:
    """A user of a registry; `token` in place of the password where a registry has given one for keeps."""

    user: str = ""
    password: str = ""
    token: str = ""

    @property
    def basic(self) -> str:
        """As a header has it; empty without a user."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}" if self.user else ""


def read_login(host: str, directory: Path | None = None) -> Login:
    """The login for a host in `config.json`, of the directory or of DOCKER_CONFIG's; an empty one where there is none.

    Raises:
        UsageError: The file cannot be understood.
    """
    home = os.environ.get("DOCKER_CONFIG")
    directory = directory or (Path(home) if home else None)
    if directory is None:
        return Login()
    path = directory / "config.json"
    try:
        return find_login(host, json.loads(path.read_text()))
    except FileNotFoundError:
        return Login()
    except (OSError, ValueError, TypeError, AttributeError, binascii.Error) as error:
        raise UsageError(
            f"{path} is no docker config: {error}", hint="make the Secret by kubectl create secret docker-registry"
        ) from error


def find_login(host: str, config: Mapping[str, Any]) -> Login:
    """The login for a host in a docker config. Pure."""
    auths = config.get("auths") or {}
    for name in (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/", f"http://{host}"):
        if name in auths:
            entry = auths[name]
            user, password = entry.get("username", ""), entry.get("password", "")
            if entry.get("auth"):
                user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            return Login(user, password, entry.get("identitytoken", ""))
    return Login()


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry wants to see: `basic`, or a token of a realm."""

    scheme: str
    realm: str = ""
    service: str = ""


def parse_challenge(header: str) -> Challenge:
    """A WWW-Authenticate header."""
    scheme, _, rest = header.partition(" ")
    found = dict(_PARAMETER.findall(rest))
    return Challenge(scheme.lower(), found.get("realm", ""), found.get("service", ""))

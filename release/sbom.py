"""What an image is made of, as CycloneDX 1.6: Debian's packages, Python's distributions, and CRIU's own tree."""

import json
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

# Where install-criu writes which packages it has unpacked.
CRIU_PACKAGES: Final = "opt/chrek/criu/packages"
_STATUS: Final = "var/lib/dpkg/status"


def components(root: Path) -> list[dict[str, Any]]:
    """Everything that a package manager put into a root directory, sorted by its package URL."""
    debian = [_debian(name, version, architecture) for name, version, architecture in (*_installed(root), *_unpacked(root))]
    found = {item["purl"]: item for item in (*debian, *_python(root))}
    return [found[purl] for purl in sorted(found)]


def write_sbom(root: Path, name: str, version: str, path: Path) -> None:
    """Writes an image's bill of materials."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": components(root),
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _installed(root: Path) -> Iterator[tuple[str, str, str]]:
    for paragraph in (root / _STATUS).read_text().split("\n\n"):
        fields = HeaderParser().parsestr(paragraph.lstrip("\n"))
        if fields.get("Status", "").endswith(" installed"):
            yield fields["Package"], fields["Version"], fields["Architecture"]


def _unpacked(root: Path) -> Iterator[tuple[str, str, str]]:
    listing = root / CRIU_PACKAGES
    for line in listing.read_text().splitlines() if listing.exists() else []:
        name, version, architecture = line.split()
        yield name, version, architecture


def _debian(name: str, version: str, architecture: str) -> dict[str, Any]:
    purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={architecture}"
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def _python(root: Path) -> Iterator[dict[str, Any]]:
    for metadata in sorted(root.glob("opt/chrek/venv/lib/python3*/site-packages/*.dist-info/METADATA")):
        fields = HeaderParser().parsestr(metadata.read_text())
        name, version = fields["Name"].lower().replace("_", "-"), fields["Version"]
        purl = f"pkg:pypi/{quote(name, safe='')}@{quote(version, safe='')}"
        yield {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}

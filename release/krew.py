"""krew's rules for a plugin's manifest and archives, and `python -m release.krew [--publish] DIR`: the manifest of a release.

After krew's own validation (`validate-krew-manifest`, `internal/index/validation`) and the extractor of its installer.
"""

import argparse
import hashlib
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from kubectl_chrek import __version__
from kubectl_chrek.api.errors import ChrekError
from release import places
from release.freeze import ROOT, SIZE_BUDGET

MANIFEST: Final = ROOT / "krew-manifest.yaml"
API_VERSION: Final = "krew.googlecontainertools.github.com/v1alpha2"
PLATFORMS: Final = frozenset(
    (os, arch)
    for os in ("linux", "darwin", "windows")
    for arch in ("amd64", "arm64", "arm", "386")
    if (os, arch) != ("darwin", "386")
)
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERSION: Final = re.compile(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def violations(manifest: Mapping[str, Any], stem: str) -> list[str]:
    """What krew would refuse of a manifest in a file `<stem>.yaml`; empty: nothing."""
    spec = manifest.get("spec") or {}
    return [*_head(manifest, stem), *_texts(spec), *_platforms(spec.get("platforms") or [])]


def archive_violations(archive: Path, binary: str) -> list[str]:
    """What krew would not extract of an archive, and what we would not ship: no links, nothing outside, the program and LICENSE."""
    found = []
    with tarfile.open(archive) as tar:
        members = {member.name: member for member in tar}
    for name, member in members.items():
        if not (member.isfile() or member.isdir()):
            found.append(f"{name}: neither a file nor a folder")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            found.append(f"{name}: leads outside")
    if "LICENSE" not in members:
        found.append("LICENSE is missing")
    if binary not in members or not members[binary].mode & 0o100:
        found.append(f"{binary} is not there, or cannot be run")
    if archive.stat().st_size > SIZE_BUDGET:
        found.append(f"{archive.stat().st_size} bytes are over the budget of {SIZE_BUDGET}")
    return found


def release_manifest(manifest: Mapping[str, Any], archives: Path) -> dict[str, Any]:
    """The manifest with this version and the platforms whose archives are in a folder, each with its digest."""
    spec = dict(manifest["spec"]) | {"version": f"v{__version__}", "homepage": places.HOMEPAGE, "platforms": []}
    for platform in manifest["spec"]["platforms"]:
        if (archive := archives / _archive_of(platform)).is_file():
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            spec["platforms"].append(platform | {"uri": places.download(__version__, archive.name), "sha256": digest})
    return dict(manifest) | {"spec": spec}


def publishable(manifest: Mapping[str, Any], archives: Path) -> dict[str, Any]:
    """The manifest for krew's index, of an archive for each platform.

    Raises:
        ChrekError: Something is missing or against krew's rules; or the addresses are still placeholders.
    """
    if nowhere := places.placeholders():
        raise ChrekError(
            f"{' and '.join(nowhere)} lead nowhere, so nothing is made that could be published",
            hint="write the release's real places into release/places.py and krew-manifest.yaml",
        )
    wanted = {_archive_of(platform): platform["bin"] for platform in manifest["spec"]["platforms"]}
    if missing := [name for name in wanted if not (archives / name).is_file()]:
        raise ChrekError(
            f"{', '.join(missing)} not in {archives}", hint="run make krew on each platform and put the archives there"
        )
    made = release_manifest(manifest, archives)
    problems = [*violations(made, "chrek")]
    problems += [f"{name}: {said}" for name, binary in wanted.items() for said in archive_violations(archives / name, binary)]
    if problems:
        raise ChrekError(f"krew would refuse this release: {'; '.join(problems)}")
    return made


def _archive_of(platform: Mapping[str, Any]) -> str:
    return PurePosixPath(platform["uri"]).name


def _head(manifest: Mapping[str, Any], stem: str) -> Iterator[str]:
    if manifest.get("apiVersion") != API_VERSION or manifest.get("kind") != "Plugin":
        yield f"apiVersion and kind must be {API_VERSION} and Plugin"
    name = (manifest.get("metadata") or {}).get("name", "")
    if not _NAME.fullmatch(name) or name.startswith(("kube-", "kubectl-")):
        yield f"metadata.name: {name!r} is not a kebab-case name without kube- in front"
    if name != stem:
        yield f"metadata.name: {name!r} is not the file's name, {stem!r}"


def _texts(spec: Mapping[str, Any]) -> Iterator[str]:
    if not _VERSION.fullmatch(spec.get("version", "")):
        yield "spec.version is not a semantic version with a leading v"
    short = spec.get("shortDescription", "")
    if not short or "\n" in short or len(short) > 70:
        yield "spec.shortDescription must be one line of at most 70 characters"
    for field in ("description", "caveats"):
        if any(len(line) > 80 for line in str(spec.get(field, "")).splitlines()):
            yield f"spec.{field}: a line has over 80 characters"


def _platforms(platforms: list[Mapping[str, Any]]) -> Iterator[str]:
    if not platforms:
        yield "spec.platforms is empty"
    matched: list[tuple[str, str]] = []
    for number, platform in enumerate(platforms):
        yield from (f"spec.platforms[{number}].{problem}" for problem in _platform(platform))
        matched += _matched(platform)
    if len(matched) != len(set(matched)):
        yield "spec.platforms: two entries match one platform"


def _platform(platform: Mapping[str, Any]) -> Iterator[str]:
    if not platform.get("uri", "").endswith((".tar.gz", ".zip")):
        yield "uri must name a .tar.gz or .zip"
    if not _SHA256.fullmatch(platform.get("sha256", "")):
        yield "sha256 must be 64 lower-case hexadecimal digits"
    if not platform.get("bin"):
        yield "bin is missing"
    if not _matched(platform):
        yield "selector matches no platform that krew knows"


def _matched(platform: Mapping[str, Any]) -> list[tuple[str, str]]:
    labels = (platform.get("selector") or {}).get("matchLabels") or {}
    if not labels or labels.keys() - {"os", "arch"}:
        return []
    return [(os, arch) for os, arch in sorted(PLATFORMS) if labels.get("os", os) == os and labels.get("arch", arch) == arch]


def main(words: list[str]) -> int:
    """Writes DIR/chrek.yaml; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m release.krew")
    parser.add_argument("folder", type=Path, help="where the archives are")
    parser.add_argument(
        "--publish", action="store_true", help="for krew's index: of all platforms, with addresses that lead somewhere"
    )
    options = parser.parse_args(words)
    manifest = yaml.safe_load(MANIFEST.read_text())
    try:
        made = publishable(manifest, options.folder) if options.publish else release_manifest(manifest, options.folder)
    except ChrekError as error:
        sys.stderr.write(f"error: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 1
    (options.folder / "chrek.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

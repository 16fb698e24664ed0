"""`python -m release.image DIR PROGRAM...`: the programs' images as archives, from their Dockerfiles, without an image builder.

Each step is done in a root directory: FROM is Debian as mmdebstrap makes it, RUN a chroot in namespaces of its own. Needs root.
"""

import fnmatch
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Final

from kubectl_chrek import __version__
from kubectl_chrek.api.errors import ChrekError
from release.archive import ImageConfig, write_archive
from release.dockerfile import Copy, From, Instruction, Run, Setting, read_dockerfile
from release.freeze import ROOT
from release.sbom import write_sbom

BASES: Final = {"debian:13.8-slim": "trixie"}
"""Images that can be begun with, and the suite that each is made of."""
_CACHE: Final = ROOT / ".cache" / "images"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of this machine: how names are resolved, which authorities are trusted, how apt fetches and where pip looks. They lie where no
# layer holds them.
_LENT: Final = {
    "/etc/resolv.conf": "resolv.conf",
    "/etc/hosts": "hosts",
    "/etc/pip.conf": "pip.conf",
    "/etc/ssl/certs/ca-certificates.crt": "certificates.crt",
}
_LENT_VARIABLES: Final = {
    "APT_CONFIG": "/run/build/apt.conf",
    "PIP_CONFIG_FILE": "/run/build/pip.conf",
    "PIP_CERT": "/run/build/certificates.crt",
    "SSL_CERT_FILE": "/run/build/certificates.crt",
}
_APT: Final = ("Acquire::http", "Acquire::Check-", "Acquire::Retries")
_RUN: Final = """
root=$1 lent=$2; shift 2
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/build"
mount --bind "$lent" "$root/run/build"
mount --bind "$lent/resolv.conf" "$root/etc/resolv.conf"
exec chroot "$root" "$@"
"""


def build(program: str, target: Path) -> Path:
    """Builds `chrek-<program>` into a folder, its archive and beside it its bill of materials; returns the archive's path.

    Raises:
        ChrekError: The Dockerfile holds something that is not known here.
        subprocess.CalledProcessError: A step failed; its output says why.
    """
    name = f"chrek-{program}"
    steps = read_dockerfile((ROOT / program / "Dockerfile").read_text())
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        root = Path(scratch, "root")
        config = ImageConfig(environment={"PATH": _PATH}, labels={"org.opencontainers.image.version": __version__})
        for step in steps:
            config = _execute(step, root, config)
        # An image whose program does not even tell how it is used is not worth its bytes.
        _run(f"PYTHONDONTWRITEBYTECODE=1 {shlex.join(config.entrypoint)} --help >/dev/null", root, config)
        write_sbom(root, name, __version__, target / f"{name}.cdx.json")
        archive = target / f"{name}.tar"
        write_archive(root, f"docker.io/library/{name}:{__version__}", config, archive)
    return archive


def _execute(step: Instruction, root: Path, config: ImageConfig) -> ImageConfig:
    match step:
        case From(image):
            _begin(image, root)
        case Run(command):
            _run(command, root, config)
        case Copy(sources, target):
            copy(ROOT, sources, root, target)
        case Setting():
            return configured(config, step)
    return config


def configured(config: ImageConfig, setting: Setting) -> ImageConfig:
    """The configuration with one setting more."""
    match setting.name:
        case "ENV":
            pairs = {name: _expanded(value, config.environment) for name, value in setting.pairs}
            return replace(config, environment=config.environment | pairs)
        case "LABEL":
            return replace(config, labels=config.labels | dict(setting.pairs))
        case "ENTRYPOINT":
            return replace(config, entrypoint=setting.words)
        case "USER":
            return replace(config, user=setting.words[0])
        case _:
            return replace(config, folder=setting.words[0])


def _expanded(value: str, environment: Mapping[str, str]) -> str:
    try:
        return Template(value).substitute(environment)
    except (KeyError, ValueError) as error:
        raise ChrekError(f"ENV: {value} refers to a variable that is not set") from error


def copy(context: Path, sources: tuple[str, ...], root: Path, target: str) -> None:
    """COPY: files go into a target that ends in a slash, a folder's content goes below it; what .dockerignore names stays out."""
    ignore = context / ".dockerignore"
    patterns = [line.removeprefix("**/") for line in ignore.read_text().splitlines()] if ignore.exists() else []
    for source in sources:
        place = root / target.lstrip("/")
        origin = context / source
        if origin.is_dir():
            shutil.copytree(origin, place, dirs_exist_ok=True, symlinks=True, ignore=shutil.ignore_patterns(*patterns))
            continue
        if any(fnmatch.fnmatch(origin.name, pattern) for pattern in patterns) or not origin.exists():
            raise ChrekError(f"COPY: {source} is not there, or .dockerignore leaves it out")
        place = place / origin.name if target.endswith("/") else place
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(origin, place)


def _begin(image: str, root: Path) -> None:
    """The base's root directory, of a tar that is kept for the next build."""
    if image not in BASES:
        raise ChrekError(f"FROM {image} is not known here", hint=f"known: {', '.join(BASES)}")
    kept = _CACHE / f"{image.replace(':', '-')}.tar"
    if not kept.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        made = kept.with_suffix(".part.tar")
        slim = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")]
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", *slim, BASES[image], str(made)], check=True)
        made.rename(kept)
    root.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--file", str(kept), "--directory", str(root), "--exclude=./dev/*"], check=True)
    # mmdebstrap leaves this machine's.
    for name in ("resolv.conf", "hostname"):
        (root / "etc" / name).write_text("")


def _run(command: str, root: Path, config: ImageConfig) -> None:
    with tempfile.TemporaryDirectory() as lent:
        for path, name in _LENT.items():
            if Path(path).exists():
                shutil.copy(path, Path(lent, name))
            else:
                Path(lent, name).touch()
        dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
        Path(lent, "apt.conf").write_text("".join(line for line in dump.splitlines(keepends=True) if line.startswith(_APT)))
        apart = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        words = [*apart, "sh", "-eu", "-c", _RUN, "run", str(root), lent, "/bin/sh", "-c", command]
        subprocess.run(words, check=True, env=_environment(config.environment), stdin=subprocess.DEVNULL)


def _environment(configured: Mapping[str, str]) -> dict[str, str]:
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    pip = {name: os.environ[name] for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if name in os.environ}
    return {"HOME": "/root", "DEBIAN_FRONTEND": "noninteractive", **proxies, **pip, **_LENT_VARIABLES, **configured}


if __name__ == "__main__":
    for chosen in sys.argv[2:]:
        build(chosen, Path(sys.argv[1]).resolve())

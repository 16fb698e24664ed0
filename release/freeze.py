"""`python -m release.freeze DIR`: the plugin as one archive that needs no Python, for krew.

PyInstaller's one-folder form: a one-file program would unpack itself at each start. It holds the commands and the TUI; the demo's
cluster, operator and agent come with pip.
"""

import gzip
import platform
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Final

from kubectl_chrek import __version__

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAM: Final = "kubectl-chrek"
SIZE_BUDGET: Final = 28 << 20
"""Bytes that an archive may have."""

# Imported by name, at run time, where PyInstaller does not see it.
_COLLECTED: Final = ("kubectl_chrek.cli.commands", "kubectl_chrek.tui", "kubectl_chrek.ops", "textual.widgets", "textual.drivers")
_OTHERS: Final = ("kubectl_chrek.local", "chrek_operator", "chrek_agent", "kopf", "cryptography")
# Of the Kubernetes client we use a connection and a reader of kubeconfigs (see cli.main.import_parts); the rest is half an archive.
_USED: Final = {"": {"aio"}, "aio": {"client", "config", "utils"}, "aio/client/models": set[str]()}
_UNUSED: Final = ("kubernetes.aio.client.api", "jsonschema", "requests", "requests_oauthlib", "oauthlib", "websocket")
_TOOLS: Final = ("tkinter", "numpy", "hypothesis", "mypy", "ast_serialize", "pytest", "_pytest", "setuptools", "pip")
_MACHINES: Final = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def platform_name() -> str:
    """`linux-amd64` and so on: this machine as krew and Go call it. A frozen program runs only where it was made."""
    return f"{platform.system().lower()}-{_MACHINES[platform.machine()]}"


def archive_name() -> str:
    """File name of this machine's archive."""
    return f"{PROGRAM}-{platform_name()}.tar.gz"


def freeze(target: Path) -> Path:
    """Builds the archive in `target`, which is made; returns its path.

    Raises:
        subprocess.CalledProcessError: PyInstaller failed; its output says why.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(_command(Path(scratch)), check=True, cwd=ROOT)
        return _pack(Path(scratch, PROGRAM), target / archive_name())


def _command(scratch: Path) -> list[str]:
    collect = [word for name in _COLLECTED for word in ("--collect-submodules", name)]
    leave = [word for name in (*_OTHERS, *_unused(), *_TOOLS) for word in ("--exclude-module", name)]
    data = ["--collect-data", "kubectl_chrek", "--collect-data", "textual", "--collect-data", "certifi"]
    places = ["--distpath", str(scratch), "--workpath", str(scratch / "work"), "--specpath", str(scratch)]
    options = ["--onedir", "--strip", "--contents-directory", "lib", "--noconfirm", "--log-level", "ERROR", "--name", PROGRAM]
    paths = ["--paths", str(ROOT)]
    command = [sys.executable, "-m", "PyInstaller", *options, *places, *paths, *collect, *leave, *data]
    return [*command, str(ROOT / "release" / "entry.py")]


def _unused() -> list[str]:
    """Modules that nothing of ours imports, though others say that they may."""
    spec = find_spec("kubernetes")
    root = Path(spec.origin or "").parent if spec else Path()
    found = list(_UNUSED)
    for place, used in _USED.items():
        package = ".".join(("kubernetes", *Path(place).parts))
        found += [f"{package}.{module.name}" for module in iter_modules([str(root / place)]) if module.name not in used]
    return found


def _pack(folder: Path, archive: Path) -> Path:
    """The folder's files and LICENSE, the same bytes each time: sorted, no dates, no owners, links followed as krew wants it."""
    with (
        gzip.GzipFile(archive, "wb", compresslevel=6, mtime=0) as compressed,
        tarfile.open(mode="w", fileobj=compressed, dereference=True) as tar,
    ):
        tar.add(ROOT / "LICENSE", "LICENSE", filter=_anonymous)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            tar.add(path, str(path.relative_to(folder)), filter=_anonymous)
    return archive


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


if __name__ == "__main__":
    made = freeze(Path(sys.argv[1]))
    sys.stdout.write(f"{made}  {__version__}  {made.stat().st_size / (1 << 20):.1f} MiB\n")

"""The plugin as krew installs it: from the archive alone, run by the real kubectl, where there is no Python."""

import asyncio
import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml

from kubectl_chrek import __version__
from kubectl_chrek.cluster.resources import CHECKPOINTS
from release import freeze, krew

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

INSTALL = freeze.ROOT / "docs" / "install.md"
SECONDS = 60
HOUR = 3600


def sources():
    """A digest of all that a frozen plugin is made from."""
    paths = sorted([*freeze.ROOT.glob("kubectl_chrek/**/*.py"), *freeze.ROOT.glob("release/*.py"), freeze.ROOT / "pyproject.toml"])
    digest = hashlib.sha256()
    for path in paths:
        if "local" not in path.relative_to(freeze.ROOT).parts:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def archives():
    """A folder with this machine's archive and the release's manifest, made once for each state of the sources."""
    base = freeze.ROOT / ".cache" / "krew"
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = base / sources()
        if not (folder / "chrek.yaml").exists():
            for old in base.iterdir():
                if old.is_dir() and old.stat().st_mtime < time.time() - HOUR:  # A younger one may be in use.
                    shutil.rmtree(old)
            for module in ("freeze", "krew"):
                subprocess.run(
                    [sys.executable, "-m", f"release.{module}", folder], check=True, cwd=freeze.ROOT, capture_output=True
                )
    return folder


@pytest.fixture
def installed(archives, tmp_path, kubectl_command):
    """The real kubectl with the plugin installed as `kubectl krew install --archive` does it, alone in PATH."""
    manifest = yaml.safe_load((archives / "chrek.yaml").read_text())
    (platform,) = manifest["spec"]["platforms"]
    archive = archives / freeze.archive_name()
    assert krew.violations(manifest, "chrek") == []
    assert krew.archive_violations(archive, platform["bin"]) == []
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == platform["sha256"]
    store = tmp_path / "krew" / "store" / "chrek" / manifest["spec"]["version"]
    with tarfile.open(archive) as tar:
        tar.extractall(store, filter="data")
    bin_folder = tmp_path / "krew" / "bin"
    bin_folder.mkdir()
    (bin_folder / "kubectl-chrek").symlink_to(store / platform["bin"])
    (program, *flags), environment = kubectl_command
    clean = {name: value for name, value in environment.items() if name.startswith("KUBE")}
    clean |= {"PATH": str(bin_folder), "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    namespace = flags[-1]

    async def run(*arguments):
        pipe = asyncio.subprocess.PIPE
        command = [str(Path(program).resolve()), "chrek", *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=clean)
        async with asyncio.timeout(SECONDS):
            output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()

    return run, namespace


async def test_the_install_page_is_right_without_krew(archives, tmp_path, kubectl_command):
    """The block of docs/install.md, with nothing in PATH but what it calls."""
    (block,) = re.findall(
        r"<!-- run by: tests/cluster/test_cli_frozen\.py.*?```bash\n(.*?)^```", INSTALL.read_text(), re.DOTALL | re.MULTILINE
    )
    folder, home = tmp_path / "path", tmp_path / "home"
    for place in (folder, home, tmp_path / "dist"):
        place.mkdir()
    (program, *_), environment = kubectl_command
    for name in ("mkdir", "tar", "gzip", "ln"):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "kubectl").symlink_to(Path(program).resolve())
    (tmp_path / "dist" / "krew").symlink_to(archives)
    clean = {"PATH": f"{folder}:{home}/.local/bin", "HOME": str(home), "KUBECONFIG": environment["KUBECONFIG"], "LANG": "C.UTF-8"}
    script = block.replace("linux-amd64", freeze.platform_name())
    process = await asyncio.create_subprocess_exec(
        shutil.which("bash"), "-euc", script, cwd=tmp_path, env=clean, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0
    assert f"v{__version__}" in output.decode()


async def test_the_archive_alone_works_through_kubectl(installed, cluster, checkpoint_body):
    run, namespace = installed
    await cluster.create(CHECKPOINTS, checkpoint_body)
    code, output, errors = await run("version", "--client")
    assert (code, errors) == (0, "")
    assert "v0." in output
    code, output, errors = await run("hash", "--model", "Qwen/Qwen3-0.6B", "--framework", "vllm")
    assert output.startswith("73e74442beb109ed"), errors
    code, output, errors = await run("ls", "-n", namespace, "-o", "name")
    assert (code, output) == (0, "dynamocheckpoint.nvidia.com/one\n"), errors
    code, output, errors = await run("tui", "--help")
    assert code == 0, errors
    assert "kubectl chrek tui" in output
    code, output, errors = await run("demo")
    assert code == 1
    assert "pip install 'kubectl-chrek[local]'" in errors
    assert "Traceback" not in errors

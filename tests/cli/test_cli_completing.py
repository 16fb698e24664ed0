"""Completion as kubectl asks for it."""

import os
import shutil
import stat
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import typer
import yaml

from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cli.completing import complete
from kubectl_chrek.cli.main import app


@pytest.fixture
def ask(fleet, monkeypatch, capsys):
    @asynccontextmanager
    async def open_cluster(options):
        fleet.options = options
        fleet.namespace = options.namespace or "default"
        yield fleet

    monkeypatch.setattr("kubectl_chrek.ops.offering.open_cluster", open_cluster)

    def run(*words):
        complete(typer.main.get_command(app), words)
        *lines, directive = capsys.readouterr().out.splitlines()
        return [line.partition("\t")[0] for line in lines], directive

    return run


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["und"], ["undelete"]),
        (["-n", "x", "lo"], ["logs"]),
        (["describe", "u"], ["used"]),
        (["gc", "--yes", "i"], ["idle"]),
        (["export", "id"], ["idle"]),
        (["diff", "used", ""], ["empty", "idle", "other", "used"]),
        (["gc", "--keep-"], ["--keep-last", "--keep-within"]),
        (["--con"], ["--context"]),
        (["ls", "--dry"], []),
        (["gc", "--dry-run="], ["--dry-run=none", "--dry-run=client", "--dry-run=server"]),
        (["gc", "--dry-run", "s"], ["server"]),
        (["df", "-o", ""], ["json", "yaml"]),
        (["ls", "--output=c"], ["--output=custom-columns="]),
        (["doctor", "--node", "n"], ["new"]),
        (["prewarm", "--graph", ""], ["llm"]),
        (["completion", ""], ["bash", "zsh", "fish", "install"]),
        (["df", ""], []),
        (["nonsense", ""], []),
        (["prewarm", "--model", ""], []),
    ],
)
def test_words(ask, words, found):
    listed, directive = ask(*words)
    assert (listed if words != [""] else listed[:3], directive) == (found, ":4")


def test_files_are_the_shells_business(ask):
    assert ask("prewarm", "-f", "") == ([], ":0")
    assert ask("hash", "--filename=") == ([], ":0")
    assert ask("hash", "--diff", "") == ([], ":0")
    assert ask("import", "") == ask("export", "idle", "") == ([], ":0")


def test_the_words_before_choose_the_cluster(ask, fleet):
    assert ask("describe", "-n", "team", "--context=c", "") == ([], ":4")
    assert (fleet.options.namespace, fleet.options.context) == ("team", "c")


def test_contexts(ask, tmp_path):
    path = tmp_path / "config"
    contexts = [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("prod", "dev")]
    path.write_text(yaml.safe_dump({"contexts": contexts, "clusters": [], "users": []}))
    assert ask("ls", "--kubeconfig", str(path), "--context", "")[0] == ["dev", "prod"]


def test_trouble_is_silent(ask, fleet):
    fleet.failing["dynamocheckpoints"] = ClusterError("no")
    assert ask("describe", "") == ([], ":4")


def test_install(chrek, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    result = chrek("completion", "install", "--dir", str(tmp_path))
    program = tmp_path / "kubectl_complete-chrek"
    assert (result.code, result.out, result.err) == (0, f"{program} installed\n", "")
    assert program.stat().st_mode & stat.S_IXUSR
    refused = chrek("completion", "install", "--dir", "/proc/nowhere")
    assert (refused.code, refused.err.splitlines()[1]) == (1, "hint: give --dir DIR: a directory in PATH that you may write to")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "is not in PATH" in chrek("completion", "install", "--dir", str(tmp_path)).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_valid(chrek, shell, tmp_path):
    script = chrek("completion", shell).out
    assert "kubectl-chrek __complete" in script
    program = shutil.which(shell)
    if not program:
        pytest.skip(f"{shell} is not installed: run scripts/install-programs")
    (tmp_path / "script").write_text(script)
    assert subprocess.run([program, "-n", str(tmp_path / "script")], check=False).returncode == 0


def test_an_unknown_shell(chrek):
    assert chrek("completion", "tcsh").code == 2


def test_it_answers_as_a_process():
    done = subprocess.run(
        [sys.executable, "-m", "kubectl_chrek", "__complete", "un"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == ":4"
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()[:-1]] == ["unpin", "undelete"]
    assert done.stderr == ""

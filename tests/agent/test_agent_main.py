"""The command lines of daemon and plain commands."""

import json
import logging

import pytest

from chrek_agent import main as module
from chrek_agent.main import main, parse
from chrek_agent.standalone.arguments import parse_command
from chrek_agent.standalone.locating import by_pid, locate
from chrek_agent.standalone.references import resolve


@pytest.fixture(autouse=True)
def own_logging(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.mark.parametrize("words", [["--node", "n"], ["run", "--node", "n"]])
def test_the_daemon_runs_with_and_without_its_verb(words, monkeypatch):
    seen = []

    async def run(args):
        seen.append(args)
        return 0

    monkeypatch.setattr(module, "_run", run)
    assert main([*words, "--listen", "127.0.0.1:0", "--log-format", "json"]) == 0
    assert (seen[0].node, seen[0].listen, seen[0].early_seconds) == ("n", "127.0.0.1:0", 10.0)


def test_defaults_are_the_daemon_sets(monkeypatch):
    for variable in ("NODE_NAME", "CHREK_LISTEN"):
        monkeypatch.delenv(variable, raising=False)
    args = parse([])
    assert (str(args.base_path), str(args.state), args.listen, args.log_format) == ("/checkpoints", "/var/lib/chrek", "", "text")


def test_a_plain_command_has_its_own_words():
    args = parse_command(["restore", "abc/g-1", "1234", "--override", "kernel", "--override", "cpu", "-o", "json"])
    assert (args.artifact, args.target, args.override, args.output) == ("abc/g-1", "1234", ["kernel", "cpu"], "json")
    assert args.command.__name__ == "restore"


@pytest.mark.parametrize("words", [["capture", "1234"], ["restore", "x"], ["verify"]])
def test_what_is_missing_is_a_usage_error(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_command(words)
    assert caught.value.code == 2
    assert "required" in capsys.readouterr().err


def test_a_doctor_says_what_is_wrong(tmp_path, capsys):
    words = ["doctor", "--store", tmp_path, "--state", tmp_path / "missing", "--criu-root", tmp_path, "-o", "json"]
    assert main([str(word) for word in words]) == 1
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert found["criu"]["verdict"] == found["state"]["verdict"] == "fail"
    assert found["store"]["verdict"] == "ok"
    assert main([str(word) for word in words[:-2]]) == 1
    assert f"fail  criu: CRIU does not run from {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["nope", "nope/g-1", "../../etc"])
def test_an_artifact_that_is_not_there(word, tmp_path, capsys):
    assert main(["verify", word, "--store", str(tmp_path)]) == 1
    assert main(["inspect", word, "--store", str(tmp_path)]) == 1
    assert capsys.readouterr().out == ""


def test_an_artifact_is_named_by_hash_generation_or_directory(tmp_path):
    for generation in ("20260129T100500Z-a", "20260130T100500Z-b"):
        (tmp_path / "hash" / generation).mkdir(parents=True)
        (tmp_path / "hash" / generation / "manifest.json").write_text(generation)

    def named(word, location=str(tmp_path)):
        found = resolve(word, location, tmp_path / "scratch")
        return found.base, found.named[:2]

    newest = str(tmp_path), ("hash", "20260130T100500Z-b")
    assert named("hash") == named("hash/20260130T100500Z-b") == newest
    assert named(str(tmp_path / "hash" / "20260130T100500Z-b"), str(tmp_path / "elsewhere")) == newest
    assert named("hash/20260129T100500Z-a")[1][1] == "20260129T100500Z-a"


def test_a_container_is_named_by_any_process_in_it(pid_namespace, tmp_path):
    namespace = pid_namespace("import subprocess, sys\nprint('ready', flush=True)\nsubprocess.run(['sleep', '60'])")
    child = next(iter(namespace.others()), None)
    while child is None:
        child = next(iter(namespace.others()), None)
    found = by_pid(child.pid, tmp_path)
    assert (found.init, found.cgroups) == (namespace.init, ())
    assert locate(str(namespace.init), tmp_path).init == namespace.init


def test_a_process_of_the_machine_is_no_container(tmp_path):
    with pytest.raises(module.ChrekError, match="there is no process 987654321"):
        locate("987654321", tmp_path)
    with pytest.raises(module.ChrekError, match="is in no PID namespace of its own"):
        by_pid(1, tmp_path)

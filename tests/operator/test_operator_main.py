"""The command line."""

import subprocess
import sys


def run(*arguments, **environment):
    command = [sys.executable, "-m", "chrek_operator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_help_names_every_option():
    said = run("--help").stdout
    for option in ("--kubeconfig", "--context", "--namespace", "--storage-type", "--base-path", "--mode", "--verbose"):
        assert option in said


def test_no_cluster_is_one_clear_line(tmp_path):
    found = run("--kubeconfig", str(tmp_path / "none"))
    assert found.returncode == 1
    assert "no usable cluster configuration" in found.stderr
    assert "Traceback" not in found.stderr


def test_an_unreachable_server_is_one_clear_line(tmp_path):
    config = tmp_path / "config"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, users: [{name: u, user: {}}],"
        " contexts: [{name: c, context: {cluster: k, user: u}}],"
        " clusters: [{name: k, cluster: {server: 'http://127.0.0.1:9'}}]}"
    )
    found = run("--kubeconfig", str(config))
    assert found.returncode == 1
    assert "Unable to connect to the server http://127.0.0.1:9" in found.stderr
    assert "Traceback" not in found.stderr

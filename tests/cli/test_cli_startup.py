"""What a command costs before it does anything: what it imports, and how the process ends."""

import json
import subprocess
import sys

import pytest

SLOW = ("kubernetes", "aiohttp", "textual", "pydantic", "kopf", "rich", "asyncio")
PROBE = f"""
import sys
from kubectl_chrek.cli.main import app
try:
    app(sys.argv[1:])
finally:
    sys.stderr.write("imported: " + " ".join(name for name in {SLOW!r} if name in sys.modules))
"""


def start(*args, module=True, **options):
    command = [sys.executable, "-m", "kubectl_chrek", *args] if module else [sys.executable, "-c", PROBE, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("args", [["hash", "--model", "m", "--framework", "vllm", "--extra", "a=b"], ["version", "--client"]])
def test_quick_commands_import_nothing_slow(args):
    assert start(*args, module=False).stderr == "imported: "


def test_yaml_is_read_without_anything_slow(tmp_path):
    path = tmp_path / "identity.yaml"
    path.write_text("model: m\nbackendFramework: vllm\n")
    assert start("hash", "-f", str(path), module=False).stderr == "imported: "


def test_explaining_a_hash_needs_no_cluster_either(tmp_path):
    for name, dtype in (("a", "fp8"), ("b", "bfloat16")):
        (tmp_path / name).write_text(f"model: m\nbackendFramework: vllm\ndtype: {dtype}\n")
    files = [str(tmp_path / name) for name in ("a", "b")]
    assert start("hash", "--diff", *files, module=False).stderr == "imported: "
    assert start("hash", "-f", files[0], "--explain", module=False).stderr == "imported: "


def test_help_of_everything_imports_no_client_and_no_command():
    assert start("--help", module=False).stderr == "imported: "
    code = 'import sys; from kubectl_chrek.cli.main import app\ntry: app(["--help"])\nfinally: print(*sys.modules, file=sys.stderr)'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert [name for name in done.stderr.split() if name.startswith("kubectl_chrek.cli.commands")] == []


def test_ls_imports_no_textual():
    assert "textual" not in start("ls", "--kubeconfig", "/nowhere", module=False).stderr


def test_a_command_with_a_cluster_imports_only_the_client_that_it_uses(tmp_path):
    cluster = "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}]"
    context = "contexts: [{name: c, context: {cluster: c, user: u}}], current-context: c"
    (tmp_path / "config").write_text(f"{{{cluster}, {context}}}")
    code = f"""
import sys
sys.argv = ["kubectl-chrek", "ls", "--kubeconfig", {str(tmp_path / "config")!r}]
from kubectl_chrek.cli.main import main
try:
    main()
finally:
    names = ("kubernetes.aio.config", "kubernetes.client", "kubernetes.aio.dynamic", "requests", "kubectl_chrek.api.checkpoint")
    sys.stderr.write("imported: " + " ".join(name for name in names if name in sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr.startswith("Unable to connect to the server http://127.0.0.1:1: connection refused\n")
    assert result.stderr.endswith("imported: kubernetes.aio.config")


def test_the_program_calls_itself_as_users_do():
    result = start("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: kubectl chrek [OPTIONS] COMMAND")
    assert start().stdout == result.stdout


def test_output_is_utf_8_whatever_the_locale():
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    result = start("hash", "--model", "é😀", "--framework", "vllm", env=environment, encoding="utf-8")
    assert (result.returncode, result.stdout.split("  ")[1]) == (0, "é😀\n")
    result = start("hash", "-f", "-", env=environment, encoding="utf-8", input='{"model":"é😀","backendFramework":"vllm"}')
    assert (result.returncode, result.stdout.split("  ")[1]) == (0, "é😀\n")


def test_a_closed_pipe_is_no_error_to_talk_about():
    lines = "\n".join(json.dumps({"model": f"m{number}" * 50, "backendFramework": "vllm"}) for number in range(5000))
    process = subprocess.Popen(
        [sys.executable, "-m", "kubectl_chrek", "hash", "-f", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    process.stdin.write(lines)
    process.stdin.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1
    process.stderr.close()

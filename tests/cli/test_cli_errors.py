"""Flags as kubectl's users write them, and failures as they read them."""

import json
from importlib import import_module

import pytest

from kubectl_chrek import __version__
from kubectl_chrek.api.errors import ClusterError
from kubectl_chrek.cli.main import Chrek
from kubectl_chrek.cluster.resources import CHECKPOINTS


def test_version(chrek, fake):
    assert chrek("version").out == f"Client Version: v{__version__}\n"
    assert chrek("version", "--client", "--server").out == f"Client Version: v{__version__}\n"
    assert chrek("version", "--server").out == f"Client Version: v{__version__}\nServer Version: v1.33.0\n"
    assert json.loads(chrek("version", "-ojson").out) == {"clientVersion": {"gitVersion": f"v{__version__}"}}
    assert chrek("version", "-o=yaml").out == f"clientVersion:\n  gitVersion: v{__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "-n", "team", "--context", "c", "--kubeconfig", "k", "--request-timeout", "5s"),
        ("ls", "-n=team", "--context=c", "--kubeconfig=k", "--request-timeout=5"),
        ("-n=team", "--context", "c", "--kubeconfig", "k", "--request-timeout=5s", "ls"),
        ("-n", "other", "--context", "c", "ls", "-nteam", "--kubeconfig", "k", "--request-timeout", "5s"),
    ],
)
def test_connection_flags_go_before_and_after_the_command(chrek, fake, words):
    assert chrek(*words).code == 0
    given = fake.options
    assert (given.namespace, given.context, given.kubeconfig, given.request_seconds) == ("team", "c", "k", 5.0)
    assert not given.all_namespaces


def test_flags_that_win_over_the_kubeconfig(chrek, fake):
    words = ("--cluster=c", "--user=u", "-s", "https://x", "--token=t", "--as=alice", "--as-group=a", "--as-group=b")
    assert chrek("ls", *words).code == 0
    given = fake.options
    found = (given.cluster, given.user, given.server, given.token, given.impersonate, given.groups)
    assert found == ("c", "u", "https://x", "t", "alice", ("a", "b"))
    assert chrek("--server=https://x", "version", "--server").code == 0
    assert fake.options.server == "https://x"


def test_values_of_switches(chrek, fake):
    chrek("ls", "-A=true")
    assert fake.options.all_namespaces
    chrek("ls", "--all-namespaces=false")
    assert not fake.options.all_namespaces


def test_what_looks_like_a_flag_but_is_a_value_is_left_alone(chrek):
    out = chrek(
        "prewarm", "--model=-o=json", "--framework", "vllm", "--image", "i", "--dry-run=client", "-o=json", "--", "-n=x"
    ).out
    found = json.loads(out)["spec"]
    assert found["identity"]["model"] == "-o=json"
    assert found["job"]["podTemplateSpec"]["spec"]["containers"][0]["command"] == ["-n=x"]


def test_get_is_ls(chrek, fake):
    fake.checkpoint("a")
    assert chrek("get").out == chrek("ls").out
    assert "get" not in [line.split()[0] for line in chrek("--help").out.splitlines() if line.startswith("  ")]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lss"], "error: No such command 'lss'. Did you mean 'ls'?"),
        (["ls", "--nope"], "error: No such option: --nope"),
        (["gc", "--dry-run"], "error: --dry-run needs a value: none|client|server"),
        (["ls", "--context"], "error: --context needs a value"),
        (["gc", "--all=maybe"], "error: Option '--all' does not take a value."),
        (["ls", "-o", "xml"], "error: --output: unknown format 'xml'"),
        (["ls", "-o", "json=1"], "error: --output: unknown format 'json=1'"),
        (["ls", "-o", "jsonpath"], "error: --output: jsonpath needs a template"),
        (["ls", "-o", "custom-columns=NAME"], "error: --output: cannot read the column 'NAME'"),
        (["ls", "--request-timeout", "soon"], "error: invalid duration 'soon'"),
        (["ls", "-A", "name"], "error: a checkpoint cannot be named across all namespaces"),
        (["ls", "name", "-l", "a=b"], "error: give names or a selector, not both"),
        (["ls", "-w", "--sort-by", ".metadata.name"], "error: --sort-by cannot be used with --watch"),
        (["ls", "--sort-by", "{.a["], "error: jsonpath: cannot read"),
        (["describe"], "error: Missing argument 'NAME...'."),
        (["tui"], "error: the TUI needs a terminal: use `kubectl chrek ls`"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(chrek, fake, words, line):
    fake.checkpoint("a")
    result = chrek(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(line)
    assert len(result.err.splitlines()) <= 2


def test_server_errors_are_shown_as_kubectl_shows_them(chrek, fake):
    fake.failing[CHECKPOINTS.plural] = ClusterError("Error from server (Forbidden): no", status=403, hint="ask")
    result = chrek("ls")
    assert (result.code, result.out, result.err) == (1, "", "Error from server (Forbidden): no\nhint: ask\n")


def test_what_the_machine_refuses_is_one_line(chrek, fake):
    fake.failing[CHECKPOINTS.plural] = OSError(28, "No space left on device", "/tmp/full")
    result = chrek("ls")
    assert (result.code, result.err) == (1, "error: /tmp/full: No space left on device\n")


def test_usage_names_arguments_as_kubectl_does(chrek):
    assert chrek("ls", "--help").out.startswith("Usage: kubectl chrek ls [OPTIONS] [NAME]...\n")
    assert chrek("describe", "--help").out.startswith("Usage: kubectl chrek describe [OPTIONS] NAME...\n")


def test_tracebacks_only_on_request(chrek, fake):
    fake.failing[CHECKPOINTS.plural] = ZeroDivisionError("a bug\nof ours")
    result = chrek("ls")
    assert result.code == 1
    assert result.err == "error: unexpected ZeroDivisionError: a bug of ours\nhint: run it again with -v=6 for the traceback\n"
    for flag in (["-v=6"], ["-v", "6"], ["--v=6"]):
        assert "Traceback" in chrek("ls", *flag).err
    fake.failing[CHECKPOINTS.plural] = ClusterError("no")
    assert "Traceback" not in chrek("ls", "-v").err
    assert "Traceback" in chrek("ls", "-v=6").err


def test_an_interrupt_exits_130_and_says_nothing(chrek, fake):
    fake.failing[CHECKPOINTS.plural] = KeyboardInterrupt()
    result = chrek("ls")
    assert (result.code, result.out, result.err) == (130, "", "")


def test_missing_extras_are_named(chrek, monkeypatch):
    monkeypatch.setattr("kubectl_chrek.cli.diagnostics.on_terminal", lambda: True)
    monkeypatch.setattr("kubectl_chrek.cli.extras.import_module", refuse)
    result = chrek("tui")
    assert (result.code, result.err) == (1, "error: textual is not installed: run pip install 'kubectl-chrek[tui]'\n")
    assert chrek("demo").err == "error: textual is not installed: run pip install 'kubectl-chrek[local]'\n"


def refuse(name):
    raise ModuleNotFoundError("No module named 'textual.app'", name="textual.app")


def test_every_command_has_help_with_examples(chrek):
    for name in Chrek.modules:
        result = chrek(name, "--help")
        assert result.code == 0
        assert f"Usage: kubectl chrek {name}" in result.out
        assert not set("{}") & set(result.out.splitlines()[0])
        assert "Examples:\n  # " in result.out


def test_help_of_everything_says_what_each_command_says_of_itself():
    own = {name: import_module(module).command.help.splitlines()[0].rstrip(".") for name, module in Chrek.modules.items()}
    assert own == Chrek.summaries

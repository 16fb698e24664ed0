"""How `demo` ends."""

from contextlib import contextmanager
from unittest.mock import create_autospec

import pytest
from typer.testing import CliRunner

from kubectl_chrek.cli import diagnostics
from kubectl_chrek.cli.main import app
from kubectl_chrek.local import demo
from kubectl_chrek.ops.connection import ConnectionOptions
from kubectl_chrek.tui import running


@pytest.mark.parametrize(("flags", "shown"), [([], True), (["--no-tui"], False)])
def test_on_a_terminal_it_ends_in_the_tui(monkeypatch, tmp_path, flags, shown):
    @contextmanager
    def run_demo(*_):
        yield tmp_path / "kubeconfig"

    run_tui = create_autospec(running.run_tui, return_value=0)
    monkeypatch.setattr(running, "run_tui", run_tui)
    monkeypatch.setattr(demo, "run_demo", run_demo)
    monkeypatch.setattr(diagnostics, "on_terminal", lambda: True)
    result = CliRunner().invoke(app, ["demo", *flags])
    assert result.exit_code == 0, result.output
    assert run_tui.called is shown
    if shown:
        run_tui.assert_called_once_with(ConnectionOptions(kubeconfig=str(tmp_path / "kubeconfig")), read_only=False)

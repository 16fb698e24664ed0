"""Nothing but the TUI costs Textual's start-up time."""

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import kubectl_chrek
for part in ("api", "cluster", "ops", "cli"):
    package = importlib.import_module(f"kubectl_chrek.{part}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"textual"}), "kubectl_chrek.tui.app" in sys.modules)
"""


def test_the_command_line_imports_neither_textual_nor_the_tui():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_the_first_frame_waits_for_no_client_and_no_models():
    script = (
        "import kubectl_chrek.tui.running, sys; print(*sorted({'aiohttp', 'kubernetes', 'pydantic', 'yaml'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []

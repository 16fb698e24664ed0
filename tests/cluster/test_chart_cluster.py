"""The chart's objects, checked strictly by an API server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

CHART = Path(__file__).parents[2] / "charts" / "chrek"


@pytest.mark.parametrize("settings", ["", "scope=namespace", "mode=integrate", "networkPolicy.enabled=true"])
async def test_every_object_is_accepted(kubectl, namespace, settings):
    program = shutil.which("helm", path=os.pathsep.join((str(CHART.parents[1] / ".cache" / "bin"), os.environ["PATH"])))
    if program is None:
        pytest.skip("there is no helm in PATH: run scripts/install-kubectl")
    command = [program, "template", "chrek", str(CHART), "-n", namespace, "--set", f"{settings},storage.pvc.size=1Gi".strip(",")]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done = await kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered)
    assert rendered.count("\nkind: ") == len(done.stdout.splitlines())
    assert done.stderr == ""

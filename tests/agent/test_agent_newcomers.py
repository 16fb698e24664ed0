"""A worker that starts processes while it is looked at: those of its own namespace are merely too young for the list."""

import subprocess
import time

import pytest

from chrek_agent.container import processes, refusals
from chrek_agent.container.discovery import Container

FOREIGN = ("unshare", "--pid", "--fork", "--kill-child")


@pytest.mark.parametrize(("start", "refused"), [((), False), (FOREIGN, True)])
def test_a_child_that_is_younger_than_the_list(start, refused, as_root):
    command = [*start, "sh", "-c", "sleep 60 & wait"]
    with subprocess.Popen(command) as worker:
        while not refusals._children(worker.pid):
            time.sleep(0.01)
        listed = processes.read_process(worker.pid)
        container = Container("c0ffee" * 10, "main", listed.pid, listed.start, ())
        found = [reason for _, reason in refusals._process_reasons(container, [listed], ())]
        for child in (*refusals._children(worker.pid), worker.pid):
            subprocess.run(["kill", "-KILL", str(child)], check=True)
    assert any("in a PID namespace of their own" in reason for reason in found) is refused

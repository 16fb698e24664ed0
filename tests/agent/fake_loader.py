"""The loader as a process of its own, on a driver that is a Python object; its argument says what goes wrong."""

import json
import os
import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
from fake_cuda import FakeCuda

from chrek_agent.apart import loader, readers

said = json.loads(sys.argv[1])


class Failing(FakeCuda):
    """Refuses some calls; in others the process ends, or never comes back."""

    def __getattr__(self, name):
        if name in said.get("dies", ()):
            os._exit(3)
        if name in said.get("hangs", ()):
            threading.Event().wait()
        return super().__getattr__(name)


def unread(*_):
    """What a reader does in place of reading."""
    if said["reader"] == "dies":
        os._exit(3)
    raise OSError("a pack is shorter than its index says")


if "reader" in said:
    readers.Content.read = unread
loader._SIGN = said.get("sign", loader._SIGN)
cuda = Failing()
cuda.devices = said.get("devices", 1)
cuda.failing = said.get("failing", {})
if said.get("library", True):
    loader.main(cuda)
else:
    loader.main()
os._exit(0)

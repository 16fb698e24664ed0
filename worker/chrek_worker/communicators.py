"""torch's process groups, down while the worker is captured and up again after its restore: so GPUs may share memory for serving.

    from chrek_worker import communicators

    communicators.init_process_group("nccl", rank=rank, world_size=size)
    pair = communicators.new_group([0, 1])
    communicators.install()  # in place of hook.install, by every rank
    while True:
        communicators.rest()  # between two steps, by every rank
        dist.all_reduce(tensor)
        dist.all_reduce(tensor, group=pair.group)

Whatever keeps a group of torch's for itself (DistributedDataParallel does) has to be made anew in `on_restore`, and so have CUDA
graphs with collectives in them.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chrek_worker import hook
from kubectl_chrek.api import names

_MEETING = ("store", "init_method")
"""Arguments that say where ranks met at first; after a restore they meet by a file."""


class Group:
    """A process group of some ranks; `group` is torch's own, another one after a restore."""

    def __init__(self, ranks: list[int] | None, arguments: dict[str, Any], group: Any) -> None:
        self.ranks = ranks
        self.arguments = arguments
        self.group = group


class Communicators:
    """Those of one process.

    Args:
        torch: The module; None: imported when it is needed.
    """

    def __init__(self, torch: Any = None) -> None:
        self._module = torch
        self._arguments: dict[str, Any] = {}
        self._groups: list[Group] = []
        self._meeting: Path | None = None
        self._rebuilt = 0
        self._asked, self._down, self._wanted, self._up = (threading.Event() for _ in range(4))
        self._failure: Exception | None = None

    def init_process_group(self, backend: str | None = None, **arguments: Any) -> None:
        """As torch.distributed.init_process_group, whose arguments are remembered."""
        self._dist.init_process_group(backend, **arguments)
        kept = {name: value for name, value in arguments.items() if name not in _MEETING}
        # Where the environment has said it, a restored worker's would not.
        self._arguments = {**kept, "backend": backend, "rank": self._dist.get_rank(), "world_size": self._dist.get_world_size()}

    def new_group(self, ranks: list[int] | None = None, **arguments: Any) -> Group:
        """As torch.distributed.new_group."""
        found = Group(ranks, arguments, self._dist.new_group(ranks, **arguments))
        self._groups.append(found)
        return found

    def install(self, *, before_capture: hook.Call | None = None, on_restore: hook.Call | None = None) -> bool:
        """As hook.install: `before_capture` is called once the groups are down, `on_restore` once they are up again.

        Returns:
            False where nothing is to be done: this process is not captured, and `rest` does nothing.
        """

        def quiesce() -> object:
            self._asked.set()
            self._awaited(self._down)
            return None if before_capture is None else before_capture()

        def restored() -> object:
            self._wanted.set()
            self._awaited(self._up)
            return None if on_restore is None else on_restore()

        signal_file = os.environ.get(names.ENV_SIGNAL_FILE)
        if signal_file and hook.install(before_capture=quiesce, on_restore=restored):
            self._meeting = Path(signal_file).parent
        return self._meeting is not None

    def rest(self, *, agreed: bool = False) -> bool:
        """To be called by all ranks at the same place between two steps: that is where a capture finds the worker.

        They ask each other, by a tiny all-reduce, whether one of them has been told of a capture. Then the groups are taken down
        here, in the thread that uses them, and this returns in the restored worker, with all groups made anew.

        Args:
            agreed: They know already, for whoever hands out the steps has asked `asked` and told the others: nothing is reduced.

        Returns:
            Whether the worker has been captured and restored meanwhile.
        """
        if self._meeting is None or not (agreed or self._any_asked()):
            return False
        self._tried(self.take_down, self._down)
        self._wanted.wait()
        self._tried(self.rebuild, self._up)
        self._meeting = None  # One capture in a process's life.
        return True

    @property
    def asked(self) -> bool:
        """Whether this rank has been told of a capture."""
        return self._asked.is_set()

    def take_down(self) -> None:
        """Ends all groups, once all that was begun on the GPU is done."""
        if self._torch.cuda.is_available():
            self._torch.cuda.synchronize()
        self._dist.destroy_process_group()
        for group in self._groups:
            group.group = None

    def rebuild(self) -> None:
        """Makes all groups anew, in their order."""
        if self._meeting is None:
            raise RuntimeError("there is no directory in which ranks could meet: call install() first")
        self._rebuilt += 1
        place = self._meeting / f"communicators-{self._rebuilt}"
        store = self._dist.FileStore(str(place), self._arguments["world_size"])
        self._dist.init_process_group(**self._arguments, store=store)
        for group in self._groups:
            group.group = self._dist.new_group(group.ranks, **group.arguments)

    def _any_asked(self) -> bool:
        device = "cuda" if "nccl" in str(self._dist.get_backend()) else "cpu"
        flag = self._torch.tensor([int(self.asked)], device=device)
        self._dist.all_reduce(flag, op=self._dist.ReduceOp.MAX)
        return bool(flag.item())

    def _tried(self, work: Callable[[], None], done: threading.Event) -> None:
        """Whoever waits for it learns of its failure too."""
        try:
            work()
        except Exception as error:
            self._failure = error
            raise
        finally:
            done.set()

    def _awaited(self, done: threading.Event) -> None:
        done.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def _torch(self) -> Any:
        if self._module is None:
            self._module = importlib.import_module("torch")
            importlib.import_module("torch.distributed")
        return self._module

    @property
    def _dist(self) -> Any:
        return self._torch.distributed


_OWN = Communicators()
init_process_group = _OWN.init_process_group
new_group = _OWN.new_group
install = _OWN.install
rest = _OWN.rest


def asked() -> bool:
    """Whether this rank has been told of a capture: for `rest(agreed=True)`."""
    return _OWN.asked

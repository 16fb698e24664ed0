"""Process groups that are down while a worker is captured: with a torch of one thread a rank, whose groups do what torch's do."""

import threading
from types import SimpleNamespace

import pytest

from chrek_worker import communicators, hook
from chrek_worker.communicators import Communicators
from kubectl_chrek.api import names

RANKS = 3


class World:
    """What the ranks of one group share: each collective waits for all of them."""

    def __init__(self):
        self.barrier = threading.Barrier(RANKS, timeout=10)
        self.values, self.lock = [], threading.Lock()

    def largest(self, value):
        with self.lock:
            self.values.append(value)
        self.barrier.wait()
        found = max(self.values)
        self.barrier.wait()
        self.values.clear()
        self.barrier.wait()
        return found


class Tensor:
    def __init__(self, values, device):
        self.value, self.device = values[0], device

    def item(self):
        return self.value


class Torch:
    """As much of torch as the module needs, for one rank; groups are numbers, new ones after each start."""

    def __init__(self, rank, world, *, cuda=False):
        self.rank, self.world, self.calls, self.up, self.made = rank, world, [], False, 0
        self.cuda = SimpleNamespace(is_available=lambda: cuda, synchronize=lambda: self.calls.append("synchronize"))
        self.distributed = self
        self.ReduceOp = SimpleNamespace(MAX="max")
        self.tensor = Tensor
        self.broken = ""

    def init_process_group(self, backend=None, **arguments):
        assert not self.up
        if self.broken == "init" and "store" in arguments:
            raise RuntimeError("nobody came")
        self.up = True
        self.calls.append((backend, arguments))

    def new_group(self, ranks=None, **arguments):
        assert self.up
        self.made += 1
        self.calls.append(("new_group", ranks, arguments))
        return self.made

    def destroy_process_group(self):
        assert self.up
        if self.broken == "destroy":
            raise RuntimeError("still at work")
        self.up = False
        self.calls.append("destroy")

    def get_rank(self):
        return self.rank

    def get_world_size(self):
        return RANKS

    def get_backend(self):
        return "nccl" if self.cuda.is_available() else "gloo"

    def FileStore(self, path, size):  # noqa: N802 - torch's name
        return ("store", path, size)

    def all_reduce(self, tensor, op):
        assert self.up
        assert tensor.device == ("cuda" if self.cuda.is_available() else "cpu")
        tensor.value = self.world.largest(tensor.value)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """What each rank has given to the hook; the test plays the shim."""
    given = {}
    monkeypatch.setenv(names.ENV_SIGNAL_FILE, str(tmp_path / "h.done"))

    def install(*, before_capture, on_restore):
        given[threading.current_thread().name] = (before_capture, on_restore)
        return True

    monkeypatch.setattr(hook, "install", install)
    return given


def ranks(work):
    """Runs it as each rank; what they return."""
    found, threads = {}, []

    def run(rank):
        try:
            found[rank] = work(rank)
        except Exception as error:
            found[rank] = error

    for rank in range(RANKS):
        threads.append(threading.Thread(target=run, args=(rank,), name=str(rank)))
        threads[-1].start()
    return found, threads


def joined(threads):
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("cuda", [False, True])
def test_groups_are_down_when_the_worker_is_captured_and_up_when_it_is_restored(installed, tmp_path, cuda):
    world, torches, steps = World(), {}, dict.fromkeys(range(RANKS), 0)
    seen = []
    ready = threading.Barrier(RANKS + 1, timeout=10)

    def work(rank):
        torch = torches[rank] = Torch(rank, world, cuda=cuda)
        own = Communicators(torch)
        own.init_process_group("nccl" if cuda else "gloo", init_method="env://", timeout=5)
        pair = own.new_group([0, 1], timeout=9)
        assert own.install(
            before_capture=lambda: seen.append(("down", torch.up, pair.group)), on_restore=lambda: seen.append(torch.up)
        )
        ready.wait()
        while not own.rest():
            steps[rank] += 1
        assert own.rest() is False  # Nothing is reduced any more.
        return pair.group

    found, threads = ranks(work)
    ready.wait()
    installed["1"][0]()  # The others have not been told yet, and rest all the same.
    for rank in ("0", "2"):
        installed[rank][0]()
    assert seen == [("down", False, None)] * RANKS
    assert len(set(steps.values())) == 1
    for _, restored in installed.values():
        restored()
    joined(threads)
    assert seen[RANKS:] == [True] * RANKS
    assert found == dict.fromkeys(range(RANKS), 2)
    for rank, torch in torches.items():
        again = {"timeout": 5, "rank": rank, "world_size": RANKS, "store": ("store", str(tmp_path / "communicators-1"), RANKS)}
        assert torch.calls[-2:] == [("nccl" if cuda else "gloo", again), ("new_group", [0, 1], {"timeout": 9})]
        assert (torch.calls[2] == "synchronize") is cuda


def test_ranks_that_have_agreed_reduce_nothing(installed):
    def work(rank):
        torch = Torch(rank, None)
        own = Communicators(torch)
        own.init_process_group("gloo")
        own.install()
        asked, restored = installed[str(rank)]
        helper = threading.Thread(target=lambda: (asked(), restored()))
        helper.start()
        assert own.rest(agreed=True)
        helper.join(10)
        return own.asked, torch.up

    found, threads = ranks(work)
    joined(threads)
    assert found == dict.fromkeys(range(RANKS), (True, True))


@pytest.mark.parametrize(("broken", "reason"), [("destroy", "still at work"), ("init", "nobody came")])
def test_a_failure_is_told_to_the_shim_and_to_the_program(installed, broken, reason):
    told = []

    def work(rank):
        torch = Torch(rank, None)
        torch.broken = broken
        own = Communicators(torch)
        own.init_process_group("gloo")
        own.install()

        def shim():
            for call in installed[str(rank)]:
                try:
                    call()
                except RuntimeError as error:
                    told.append(str(error))
                    return

        helper = threading.Thread(target=shim)
        helper.start()
        try:
            own.rest(agreed=True)
        finally:
            helper.join(10)

    found, threads = ranks(work)
    joined(threads)
    assert told == [reason] * RANKS
    assert [str(error) for error in found.values()] == [reason] * RANKS


def test_where_nothing_is_captured_nothing_is_reduced(monkeypatch):
    monkeypatch.delenv(names.ENV_SIGNAL_FILE, raising=False)
    torch = Torch(0, None)  # It has no world to reduce in.
    own = Communicators(torch)
    own.init_process_group("gloo")
    assert own.install() is False
    assert own.rest() is own.rest(agreed=True) is own.asked is False
    with pytest.raises(RuntimeError, match=r"call install\(\) first"):
        own.rebuild()
    assert communicators.asked() is False

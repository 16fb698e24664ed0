"""Real programs, one entry each: how it is started, what it is asked before its capture and after its restore.

To add one: its command, a question that it answers once it is ready, and the question of which only the captured process knows the
answer. `benchmarks/programs.py` runs them all, the tests those that are quick.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from light_container import Box

HERE = Path(__file__).with_name("programs")
CACHE = Path(__file__).parents[2] / ".cache" / "programs"
PYTHON = "/usr/bin/python3"
GET = b"GET / HTTP/1.0\r\nHost: x\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Ask:
    """One question over TCP, and what the answer matches."""

    port: int
    question: bytes
    expected: bytes

    def __call__(self, box: Box) -> bytes:
        return box.ask(self.port, self.question, self.expected)


@dataclass(frozen=True, slots=True)
class Command:
    """One command in the container, and what it prints."""

    words: tuple[str, ...]
    expected: str

    def __call__(self, box: Box) -> bool:
        return self.expected in box.run(*self.words)


Question = Callable[[Box], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One row of the table."""

    name: str
    command: tuple[str, ...]
    ready: Question
    after: Question
    before: Question = lambda _: True
    version: tuple[str, ...] = (PYTHON, "--version")
    needs: str = PYTHON
    """A file that is there where it can run."""
    package: str = "python3"
    env: Mapping[str, str] = field(default_factory=dict)
    security: Mapping[str, object] = field(default_factory=dict)
    no_io_uring: bool = False
    """Runs under the seccomp profile that ships."""
    refusal: str = ""
    """What the agent says where it cannot be captured."""
    quick: bool = False


def _features(*names: str) -> tuple[str, ...]:
    return (PYTHON, str(HERE / "features.py"), *names)


def _uvicorn(loop: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "uvicorn", "--app-dir", str(HERE), "--port", "8000", "--loop", loop, "counting:app")


_ALL_TRUE = Ask(8000, GET, b'{"[a-z_]+": true(, "[a-z_]+": true)*}')
_COUNT = {number: Ask(8000, GET, b"answer %d\n" % number) for number in (1, 2)}
_NEWER = {"PYTHONPATH": str(CACHE)}
_POSTGRES = "/usr/lib/postgresql/15/bin"
_INIT = f"{_POSTGRES}/initdb -D /tmp/pg -U postgres >/dev/null"
_SERVE = f"{_POSTGRES}/postgres -D /tmp/pg -k /tmp -c listen_addresses=127.0.0.1"
_AS_USER = "setpriv --reuid=postgres --regid=postgres --clear-groups"
_PSQL = ("psql", "-h", "/tmp", "-U", "postgres", "-Atc")

PROGRAMS = (
    Program(
        name="Python http.server",
        command=(PYTHON, "-m", "http.server", "8000"),
        ready=Ask(8000, GET, b"200 OK"),
        after=Ask(8000, GET, b"Directory listing"),
        quick=True,
    ),
    Program(
        name="uvicorn, asyncio",
        command=_uvicorn("asyncio"),
        ready=_COUNT[1],
        after=_COUNT[2],
        version=(PYTHON, "-m", "uvicorn", "--version"),
        needs="/usr/lib/python3/dist-packages/uvicorn",
        package="python3-uvicorn",
        quick=True,
    ),
    Program(
        name="uvicorn, uvloop of Debian",
        command=_uvicorn("uvloop"),
        ready=_COUNT[1],
        after=_COUNT[2],
        version=(PYTHON, "-c", "import uvloop; print(uvloop.__version__)"),
        needs="/usr/lib/python3/dist-packages/uvloop",
        package="python3-uvloop",
    ),
    Program(
        name="uvicorn, newer uvloop",
        command=_uvicorn("uvloop"),
        ready=_COUNT[1],
        after=_COUNT[2],
        version=("/usr/bin/env", f"PYTHONPATH={CACHE}", PYTHON, "-c", "import uvloop; print(uvloop.__version__)"),
        needs=str(CACHE / "uvloop"),
        package="uvloop >= 0.19 in .cache/programs",
        env=_NEWER,
        refusal="io_uring",
    ),
    Program(
        name="uvicorn, newer uvloop, io_uring blocked by seccomp",
        command=_uvicorn("uvloop"),
        ready=_COUNT[1],
        after=_COUNT[2],
        version=("/usr/bin/env", f"PYTHONPATH={CACHE}", PYTHON, "-c", "import uvloop; print(uvloop.__version__)"),
        needs=str(CACHE / "uvloop"),
        package="uvloop >= 0.19 in .cache/programs",
        env=_NEWER,
        no_io_uring=True,
    ),
    Program(
        name="multiprocessing, fork and spawn",
        command=_features("multiprocess_fork", "multiprocess_spawn", "posix_ipc"),
        ready=_ALL_TRUE,
        after=_ALL_TRUE,
    ),
    Program(
        name="torch on CPU, 2 processes, gloo",
        command=(PYTHON, str(HERE / "torch_ranks.py")),
        ready=Ask(8000, GET, b"sum 3 step 1\n"),
        after=Ask(8000, GET, b"sum 3 step 2\n"),
        version=(PYTHON, "-c", "import torch; print(torch.__version__)"),
        needs="/usr/lib/python3/dist-packages/torch",
        package="python3-torch",
    ),
    Program(
        name="redis",
        command=("redis-server", "--port", "6379", "--save", "", "--appendonly", "no", "--dir", "/tmp"),
        ready=Ask(6379, b"PING\r\n", b"PONG"),
        before=Ask(6379, b"SET kept 42\r\n", b"OK"),
        after=Ask(6379, b"GET kept\r\n", b"42"),
        version=("redis-server", "--version"),
        needs="/usr/bin/redis-server",
        package="redis-server",
        quick=True,
    ),
    Program(
        name="postgres, as its own user",
        command=("/bin/sh", "-c", f"{_INIT} && exec {_SERVE}"),
        ready=Command((*_PSQL, "select 1"), "1"),
        after=Command((*_PSQL, "select 1"), "1"),
        version=(f"{_POSTGRES}/postgres", "--version"),
        needs=f"{_POSTGRES}/postgres",
        package="postgresql",
        security={"runAsUser": 65534, "runAsGroup": 65534},
        refusal="CAP_SYS_RESOURCE",
    ),
    Program(
        name="postgres, as root that says it is not",
        command=("/bin/sh", "-c", f"{_AS_USER} {_INIT} && chown -R 999 /tmp/pg && LD_PRELOAD={CACHE}/notroot.so exec {_SERVE}"),
        ready=Command((*_PSQL, "select 1"), "1"),
        before=Command((*_PSQL, "create table kept as select 42 as answer"), "SELECT 1"),
        after=Command((*_PSQL, "select answer from kept"), "42"),
        version=(f"{_POSTGRES}/postgres", "--version"),
        needs=str(CACHE / "notroot.so"),
        package="postgresql, and geteuid replaced in .cache/programs",
    ),
    Program(
        name="node http",
        command=("node", str(HERE / "counting.js")),
        ready=_COUNT[1],
        after=_COUNT[2],
        version=("node", "--version"),
        needs="/usr/bin/node",
        package="nodejs",
        quick=True,
    ),
    Program(
        name="nginx, master and worker",
        command=("nginx", "-c", str(HERE / "nginx.conf"), "-e", "stderr"),
        ready=Ask(8000, GET, b"nginx here"),
        after=Ask(8000, GET, b"nginx here"),
        version=("nginx", "-v"),
        needs="/usr/sbin/nginx",
        package="nginx",
        quick=True,
    ),
    Program(
        name="caddy (Go)",
        command=("caddy", "respond", "--listen", ":8000", "go here"),
        ready=Ask(8000, GET, b"go here"),
        after=Ask(8000, GET, b"go here"),
        version=("caddy", "version"),
        needs="/usr/bin/caddy",
        package="caddy",
        env={"HOME": "/tmp"},
    ),
)

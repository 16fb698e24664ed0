"""What the adapters ask is what the engines' own packages declare: routes, parameters, fields, flags and methods of their releases.

The packages' sources are read, not imported: that takes their GPU libraries. scripts/fetch-engines puts them there.
"""

import ast
import asyncio
import re
import threading
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from chrek_worker.adapters import choice, sglang, vllm, vllm_inprocess
from chrek_worker.adapters.errors import AdapterError

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / ".cache" / "engines"
KINDS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.If)
SERVERS = {
    "vllm": ("vllm/entrypoints/openai", "vllm/entrypoints/serve", "vllm/entrypoints/rl"),
    "sglang": ("sglang/srt/entrypoints/http_server.py",),
}
VERBS = {"get", "post", "put", "delete"}


@pytest.fixture(params=["vllm", "sglang"])
def name(request):
    needed(request.param)
    return request.param


def needed(engine):
    if not (SOURCES / engine).exists():
        pytest.skip(f"the sources of {engine} are not here: run scripts/fetch-engines (it downloads some 400 MB)")


def files(*places):
    for place in places:
        path = SOURCES / place
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


@cache
def tree(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, KINDS)]


def nodes(kind, *places):
    return (node for path in files(*places) for node in tree(path) if isinstance(node, kind))


@cache
def routes(engine):
    """'POST /sleep' -> the function that answers."""
    found = {}
    for function in nodes(ast.AsyncFunctionDef, *SERVERS[engine]):
        for call in (item for item in function.decorator_list if isinstance(item, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.args and isinstance(call.args[0], ast.Constant):
                listed = [keyword.value for keyword in call.keywords if keyword.arg == "methods"]
                verbs = ast.literal_eval(listed[0]) if listed else [call.func.attr] * (call.func.attr in VERBS)
                found |= {f"{verb.upper()} {call.args[0].value}": function for verb in verbs}
    return found


@cache
def fields(engine, kind):
    """What a class of the engine's has as fields, those of its bases included; None for what is no class of its."""
    places = SERVERS["vllm"] if engine == "vllm" else ("sglang/srt/managers/io_struct.py",)
    found = [node for node in nodes(ast.ClassDef, *places) if node.name == kind]
    if not found:
        return None
    own = {item.target.id for item in found[0].body if isinstance(item, ast.AnnAssign)}
    return own.union(*(fields(engine, ast.unparse(base)) or () for base in found[0].bases))


def arguments(function):
    """Name -> annotation, as it is written."""
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {argument.arg: ast.unparse(argument.annotation) if argument.annotation else "" for argument in every}


def strange(engine, request, body):
    """What of a request the engine's server does not declare."""
    verb, _, target = request.partition(" ")
    url = urlsplit(target)
    function = routes(engine).get(f"{verb} {url.path}")
    if function is None:
        return [f"there is no {verb} {url.path}"]
    declared = arguments(function)
    found = [f"{url.path} has no {key}" for key, _ in parse_qsl(url.query) if "Query" not in declared.get(key, "")]
    known = set().union(*(fields(engine, kind) or () for text in declared.values() for kind in re.findall(r"\w+", text)))
    return found + [f"{url.path}: {key} is no field of its body" for key in body or {} if key not in known]


@pytest.fixture
def requests(engine, worker_of):
    """All requests that an adapter makes of a server that answers as its engine does, with their bodies."""

    def ask(name):
        if name == "vllm":
            server = engine("vllm", developing=True)
            for flags in (["--enable-sleep-mode"], []):
                worker = worker_of(server, "vllm", "serve", *flags)
                vllm.ready(worker)
                vllm.resume(worker, vllm.quiesce(worker, []))
                vllm.check(worker)
        else:
            server = engine("sglang")
            worker = worker_of(
                server, "sglang", "serve", "--enable-memory-saver", "--enable-weights-cpu-backup", framework="sglang"
            )
            sglang.ready(worker)
            sglang.resume(worker, sglang.quiesce(worker, []))
            sglang.check(worker)
            choice.choose(worker_of(server, "script.sh", framework="sglang"))
        return server.sent

    return ask


def test_all_that_is_asked_is_declared(name, requests):
    asked = requests(name)
    assert len({request for request, _ in asked}) >= 6
    assert [problem for request, body in asked for problem in strange(name, request, body)] == []
    assert strange(name, "POST /sleeep", None) == ["there is no POST /sleeep"]
    assert strange(name, "POST /v1/completions", {"promt": "x"}) == ["/v1/completions: promt is no field of its body"]


def test_vllm_knows_the_words_in_our_requests():
    needed("vllm")
    text = (SOURCES / "vllm/v1/engine/__init__.py").read_text()
    modes = ast.literal_eval(re.search(r"^PauseMode = Literal(\[.*?\])", text, re.MULTILINE)[1])
    for request in (vllm.SLEEP, vllm.PAUSE):
        assert dict(parse_qsl(urlsplit(request).query))["mode"] in modes
    (body,) = (ast.unparse(routes("vllm")[route]) for route in ("GET /is_sleeping",))
    assert "'is_sleeping': is_sleeping" in body


def test_vllms_routes_of_its_development_mode_are_those_that_it_says():
    """Sleep and pause are registered below `if envs.VLLM_SERVER_DEV_MODE` only, by functions of these names."""
    needed("vllm")
    (switch,) = [
        node
        for node in nodes(ast.If, "vllm/entrypoints/launchers/api_server/routers.py")
        if ast.unparse(node.test) == "envs.VLLM_SERVER_DEV_MODE"
    ]
    registered = ast.unparse(switch)
    assert "register_vllm_dev_api_routers(app)" in registered
    assert "register_rl_api_routers(app)" in registered
    registers = {node.name: ast.unparse(node) for node in nodes(ast.FunctionDef, "vllm/entrypoints/serve", "vllm/entrypoints/rl")}
    assert ".dev.sleep.api_router" in registers["register_vllm_dev_api_routers"]


@pytest.mark.parametrize(
    ("engine_name", "place", "texts"),
    [
        ("vllm", "vllm/engine/arg_utils.py", ['"--enable-sleep-mode"']),
        ("vllm", "vllm/entrypoints/common/cli_args.py", ["api_key: list[str]", f"port: int = {vllm.PORT}"]),
        ("vllm", "vllm/envs.py", ["VLLM_SERVER_DEV_MODE", "VLLM_API_KEY"]),
        ("vllm", "vllm/entrypoints/serve/engine/protocol.py", ['owned_by: str = "vllm"']),
        ("sglang", "sglang/srt/arg_groups/fields/exec_.py", ["enable_memory_saver: ", "enable_weights_cpu_backup: "]),
        ("sglang", "sglang/srt/arg_groups/fields/serving.py", ["api_key: ", "admin_api_key: ", f"= {sglang.PORT}\n"]),
        ("sglang", "sglang/srt/constants.py", ['"kv_cache"', '"weights"']),
        ("sglang", "sglang/srt/entrypoints/openai/protocol.py", ['owned_by: str = "sglang"']),
    ],
)
def test_flags_defaults_and_names_are_theirs(engine_name, place, texts):
    needed(engine_name)
    source = (SOURCES / place).read_text()
    assert [text for text in texts if text not in source] == []


@pytest.mark.parametrize(
    ("place", "kind", "methods"),
    [
        ("vllm/entrypoints/llm.py", "LLM", {"sleep": {"level", "mode"}, "wake_up": {"tags"}}),
        ("vllm/v1/engine/async_llm.py", "AsyncLLM", {"sleep": {"level", "mode"}, "wake_up": {"tags"}}),
    ],
)
def test_an_engine_in_the_same_process_has_these_methods(place, kind, methods):
    needed("vllm")
    (found,) = [node for node in nodes(ast.ClassDef, place) if node.name == kind]
    functions = {item.name: item for item in found.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    for method, wanted in methods.items():
        assert wanted <= set(arguments(functions[method]))
        assert isinstance(functions[method], ast.AsyncFunctionDef) == (kind == "AsyncLLM")
    assert ast.unparse(functions["wake_up"].returns) == "bool"


def test_the_documentation_names_these_releases(name):
    (metadata,) = SOURCES.glob(f"{name}-*.dist-info/METADATA")
    version = re.search(r"^Version: (\S+)$", metadata.read_text(), re.MULTILINE)[1]
    title = {"vllm": "vLLM", "sglang": "SGLang"}[name]
    assert f"{title} {version}" in (ROOT / "docs" / "worker-contract.md").read_text()


class Llm:
    """As vllm.LLM, as far as it is called."""

    def __init__(self, *, wakes=True):
        self.said, self.wakes = [], wakes

    def sleep(self, level=1, mode="abort"):
        self.said.append(("sleep", level, mode))

    def wake_up(self, tags=None):
        self.said.append(("wake_up", tags))
        return self.wakes


class AsyncLlm(Llm):
    async def sleep(self, level=1, mode="abort"):
        super().sleep(level, mode)

    async def wake_up(self, tags=None):
        return super().wake_up(tags)


def test_an_engine_in_the_same_process_sleeps_and_wakes_up():
    engine = Llm()
    calls = vllm_inprocess.calls(engine)
    calls["before_capture"]()
    calls["on_restore"]()
    assert engine.said == [("sleep", 1, "abort"), ("wake_up", None)]
    with pytest.raises(AdapterError, match="still sleeps"):
        vllm_inprocess.calls(Llm(wakes=False))["on_restore"]()


async def test_an_engine_on_a_loop_is_called_from_the_hooks_thread():
    engine = AsyncLlm()
    calls = vllm_inprocess.calls(engine, asyncio.get_running_loop())
    thread = threading.Thread(target=lambda: [call() for call in calls.values()])
    thread.start()
    await asyncio.to_thread(thread.join)
    assert engine.said == [("sleep", 1, "wait"), ("wake_up", None)]

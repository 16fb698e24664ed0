"""The documentation is true: commands run or say why not, links lead somewhere, flags, symptoms and figures are those of the code.

A bash block is run, page by page in the order of the page, against the embedded API server, in a directory of the page's own where
the checkout's charts are. A comment before a block says otherwise: `not run: why`; `run by: FILE: how`, a test of that name, which
names the page; or `exits 1: why`, it is run and must end so. A yaml block with a kind is checked by the server, and is written to a
file of the page's directory when `file: name` stands before it. The lines of a text block with `output: ...` before it are among
those that the bash block above it has printed.
"""

import ast
import asyncio
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
import typer
import yaml

from chrek_agent.main import parse as parse_daemon
from chrek_agent.standalone.arguments import COMMANDS, parse_command
from kubectl_chrek.api.crds import load_crds
from kubectl_chrek.cli.main import app
from kubectl_chrek.cluster import Cluster
from kubectl_chrek.cluster.resources import NAMESPACES
from kubectl_chrek.local.apiserver import ApiServer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted(DOCS.glob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md", *sorted((DOCS / "adr").glob("*.md"))]
SOURCES = ("kubectl_chrek", "agent", "operator", "worker")
CHREK = ("kubectl", "chrek")
BLOCK_SECONDS = 120
RUNNABLE = {"kubectl", "kubectl-chrek", "chrek-agent", "helm", "openssl", "cat", "echo", "grep", "printf"}
"""What a block may call to be run here: nothing that reaches out of its directory and the embedded server."""
ALONE = {"install.md"}
"""Pages that install and delete in the whole cluster."""
GIVEN = {"retention.md", "troubleshooting.md"}
"""Pages that are for a cluster with a checkpoint: that of the README's graph."""

_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>not run|run by|exits \d+|file|output): (?P<said>[^\n]+?) -->\n+)?```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`((?:kubectl chrek|chrek-agent) [^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, what stands before it, and its first line's number."""

    kind: str
    text: str
    mark: str
    said: str
    line: int


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, *kinds):
    text = page.read_text()
    found = (
        Block(match["kind"], match["text"], match["mark"] or "", match["said"] or "", text.count("\n", 0, match.start("text")) + 1)
        for match in _FENCE.finditer(text)
    )
    return [block for block in found if block.kind in kinds]


def prose(page):
    return _FENCE.sub("", page.read_text())


def anchors(page):
    seen = Counter()
    for line in prose(page).splitlines():
        if line.startswith("#"):
            slug = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
            yield slug if not seen[slug] else f"{slug}-{seen[slug]}"
            seen[slug] += 1


def commands(block):
    """(line, words) of each command in a bash block; what follows a redirection is no command."""
    for line in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split, lexer.commenters = True, "#"
        words, redirected = [], False
        for word in [*lexer, ";"]:
            if not set(word) <= set("|&;<>()"):
                words.append(word)
                continue
            if words and not redirected:
                yield line.strip(), words
            words, redirected = [], word[0] in "<>"


def command_lines(page):
    """(where, words) of each command, in blocks and in prose."""
    for block in blocks(page, "bash"):
        for line, words in commands(block):
            yield f"{name_of(page)}:{block.line}: {line}", words
    for match in _INLINE.finditer(prose(page)):
        yield f"{name_of(page)}: {match[0]}", match[1].split()


def ours(words):
    """The words from our program's name on, past `sudo`, variables and paths."""
    for index, word in enumerate(words):
        if tuple(words[index : index + 2]) == CHREK:
            return ["chrek", *words[index + 2 :]]
        if Path(word).name in ("kubectl-chrek", "chrek-agent"):
            return ["chrek" if word.endswith("kubectl-chrek") else "chrek-agent", *words[index + 1 :]]
        if "=" not in word and word != "sudo":
            return []
    return []


def flags(words):
    """The flags among the words before `--`, without their values."""
    return [
        word.partition("=")[0] for word in words[: words.index("--") if "--" in words else None] if re.match(r"--?[a-zA-Z]", word)
    ]


def unknown(words):
    """What a command line names that the program does not know."""
    root = typer.main.get_command(app)
    plain = [word for word in words[1:] if not word.startswith("-")]
    if plain[:1] == ["COMMAND"]:  # As people write it of any.
        return []
    if not plain or plain[0] not in root.commands:
        return plain[:1] if plain else []
    known = {option for param in (*root.params, *root.commands[plain[0]].params) for option in (*param.opts, *param.secondary_opts)}
    return [flag for flag in flags(words) if flag not in known | {"--help"}]


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page):
    broken = []
    for target in (target for target in _LINK.findall(prose(page)) if not re.match(r"[a-z]+:", target)):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_source_files_that_are_named_are_there(page):
    named = re.findall(r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|json|toml|yaml|txt))`", page.read_text())
    tops = ("", "operator", "agent", "worker", "worker/chrek_worker")
    assert [path for path in named if not any((ROOT / top / path).exists() for top in tops)] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_flags_exist(page, capsys):
    for where, words in command_lines(page):
        program, *rest = ours(words) or [""]
        if program == "chrek":
            assert not unknown([program, *rest]), where
        elif program == "chrek-agent" and "..." not in rest:
            if "--help" in rest:
                rest = [word for word in rest if word != "--help"] or ["run"]
                assert rest[0] in (*COMMANDS, "run"), where
                continue
            if len(rest) == 1 and rest[0] in COMMANDS:  # Its name, as prose has it.
                continue
            rest = ["1" if word.isupper() else word for word in rest]  # FILE, SIZE: what people put there themselves.
            try:
                parse_command(rest) if rest[0] in COMMANDS else parse_daemon(rest)
            except SystemExit:
                pytest.fail(f"{where}: {capsys.readouterr().err}")


def test_every_command_is_told_of():
    told = set(re.findall(r"`(\w+)", (DOCS / "commands.md").read_text()))
    assert set(typer.main.get_command(app).commands) <= told


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_a_block_that_is_not_run_says_why(page):
    assert not re.findall(r"^(?:[ \t]+```bash|```(?:sh|shell|console|zsh))$", page.read_text(), re.MULTILINE), "would be overlooked"
    for block in blocks(page, "bash"):
        where = f"{name_of(page)}:{block.line}"
        assert block.mark in ("", "not run", "run by") or block.mark.startswith("exits"), where
        assert not block.mark or len(block.said.split()) > 1, where
        if block.mark == "run by":
            test = ROOT / block.said.partition(": ")[0]
            assert test.match("tests/*/test_*.py"), where
            assert page.name in test.read_text(), f"{where}: {test.name} does not name the page"
    for block in blocks(page, "text", ""):
        assert not re.search(r"^(?:\$|kubectl|helm|make|chrek-agent|docker) ", block.text, re.MULTILINE), "commands belong in bash"


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_python_and_json_blocks_are_that_and_import_what_there_is(page):
    for block in blocks(page, "json"):
        json.loads(block.text)
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block.text, f"{name_of(page)}:{block.line}")):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), alias.name


@pytest.fixture(scope="module")
def said():
    """All that the programs may say."""
    return "\n".join(path.read_text() for top in SOURCES for path in (ROOT / top).rglob("*.py"))


def test_annotations_variables_and_values_exist(said):
    values = yaml.safe_load((ROOT / "charts/chrek/values.yaml").read_text())
    strange = []
    for page in PAGES:
        text = page.read_text()
        names = set(re.findall(r"nvidia\.com/[a-z][a-z-]+[a-z]|\b(?:CHREK|DYN)_[A-Z_]+[A-Z]\b", text))
        strange += [name for name in names if name not in said and name.partition("/")[2] not in said]
        for path in re.findall(r"`((?:agent|operator|storage|image|seccomp|podMonitor|networkPolicy)(?:\.[a-zA-Z]+)+)`", text):
            place = values
            for key in path.split("."):
                place = place.get(key) if isinstance(place, dict) else None
            strange += [path] if place is None else []
    assert strange == []


def test_symptoms_are_what_the_code_says(said):
    symptoms = [line for line in (DOCS / "troubleshooting.md").read_text().splitlines() if line.startswith("### `")]
    assert len(symptoms) > 20
    texts = [symptom.removeprefix("### `").removesuffix("`") for symptom in symptoms]
    parts = [part.strip(" :,.()") for text in texts for part in re.split(r"<[^>]*>", text)]
    assert [part for part in parts if part not in said] == []


def test_every_right_is_told():
    page = (DOCS / "security.md").read_text()
    for program, groups in yaml.safe_load((ROOT / "charts/chrek/files/roles.yaml").read_text()).items():
        section = page.partition(f"### Rights of the {program}")[2].partition("\n##")[0]
        for rule in (rule for rules in groups.values() for rule in rules):
            rows = [row for row in section.splitlines() if set(rule["resources"]) <= set(re.findall(r"`([^`]+)`", row))]
            assert any(set(rule["verbs"]) <= set(re.findall(r"\w+", row)) for row in rows), f"{program}: {rule}"


def test_the_readmes_figures_are_measured():
    text = " ".join((ROOT / "README.md").read_text().split())
    measured = json.loads((ROOT / "benchmarks/results/cold_vs_restored.json").read_text())
    assert f"median {measured['median_cold']:.1f} s cold, {measured['median_restored']:.1f} s restored" in text
    ours, plain = (_median_seconds("gpu_h200_beside", "weights-16-short", kind) for kind in ("restore", "plain_restore"))
    apart = _median_seconds("gpu_h200_beside", "apart-16", "restore")
    assert f"its first step {ours:.1f} s after its container began to wait for the restore, {apart:.1f} s where it keeps" in text
    assert f"apart, and {plain:.1f} s with the driver's" in text


def _median_seconds(file, part, kind):
    found = json.loads((ROOT / f"benchmarks/results/{file}.json").read_text())
    return median(run["seconds"] for run in found["parts"][part][kind])


def shell(directory, script, environment):
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BLOCK_SECONDS,
        check=False,
    )


def run_page(page, directory, environment):
    """Runs a page's blocks; returns what failed."""
    failed, printed = prepare_page(page, directory, environment), ""
    for block in blocks(page, "bash", "text"):
        if block.mark == "output":
            missing = set(block.text.splitlines()) - set(printed.splitlines())
            failed += [f"{name_of(page)}:{block.line}: {line!r} was not printed, but: {printed}" for line in missing]
        if block.mark in ("not run", "run by") or block.kind == "text":
            continue
        strange = {words[0] for _, words in commands(block)} - RUNNABLE
        if strange:
            failed.append(f"{name_of(page)}:{block.line}: say `not run: why` before it, for it calls {', '.join(sorted(strange))}")
        else:
            done = shell(directory, block.text, environment)
            printed = done.stdout
            if done.returncode != int(block.mark.removeprefix("exits") or 0):
                failed.append(f"{name_of(page)}:{block.line}: exit code {done.returncode}: {done.stderr}{done.stdout}")
    return failed


def prepare_page(page, directory, environment):
    """Has a page's yaml checked, writes its files, and makes what the page takes for given; returns what failed."""
    if page.name in GIVEN:
        (graph,) = (block.text for block in blocks(ROOT / "README.md", "yaml") if block.mark == "file")
        (directory / "given.yaml").write_text(graph)
        shell(directory, "kubectl chrek prewarm -f given.yaml", environment).check_returncode()
    documents = [block for block in blocks(page, "yaml") if re.search(r"^kind:", block.text, re.MULTILINE)]
    for block in documents:
        if block.mark == "file":
            (directory / block.said).write_text(block.text)
    (directory / "all-of-the-page.yaml").write_text("\n---\n".join(block.text for block in documents))
    check = "kubectl apply --dry-run=server --validate=strict -f all-of-the-page.yaml"
    done = shell(directory, check, environment) if documents else None
    return [f"{name_of(page)}: its yaml: {done.stderr}"] if done and done.returncode else []


@pytest.mark.cluster
@pytest.mark.timeout(300)
async def test_blocks_run(tmp_path):
    paths = os.pathsep.join((str(ROOT / ".venv/bin"), str(ROOT / ".cache/bin"), os.environ["PATH"]))
    if missing := [program for program in ("kubectl", "helm", "openssl") if not shutil.which(program, path=paths)]:
        pytest.skip(f"there is no {missing[0]} in PATH: run scripts/install-kubectl and scripts/install-programs")
    environment = os.environ | {"PATH": paths, "KUBECTL_KUBERC": "false"}
    shared = [page for page in PAGES if page.name not in ALONE]
    groups = [shared, *([page] for page in PAGES if page.name in ALONE)]
    failed = await asyncio.gather(*(run_pages(group, tmp_path / str(number), environment) for number, group in enumerate(groups)))
    assert not any(failed), "\n".join(line for lines in failed for line in lines)


async def run_pages(pages, place, environment):
    """Runs pages against one server, each in a namespace of its own, so that they do not see what others have made."""
    state = place / "server"
    state.mkdir(parents=True)
    own = {f"HELM_{kind}_HOME": str(place / kind) for kind in ("CACHE", "CONFIG", "DATA")} | {"KUBECACHEDIR": str(place / "cache")}
    async with ApiServer.start(state, load_crds()) as server:
        runs = []
        for page in pages:
            directory = place / "pages" / name_of(page)
            directory.mkdir(parents=True)
            (directory / "charts").symlink_to(ROOT / "charts")
            config = await namespace_of_its_own(server.kubeconfig, page, directory.with_suffix(".kubeconfig"))
            runs.append(asyncio.to_thread(run_page, page, directory, environment | own | {"KUBECONFIG": str(config)}))
        return [line for lines in await asyncio.gather(*runs) for line in lines]


async def namespace_of_its_own(kubeconfig, page, target):
    """Makes a namespace for a page, and a kubeconfig for it."""
    name = re.sub(r"\W", "-", name_of(page).lower())
    content = yaml.safe_load(kubeconfig.read_text())
    content["contexts"][0]["context"]["namespace"] = name
    target.write_text(yaml.safe_dump(content))
    async with Cluster.connect(kubeconfig=str(kubeconfig)) as cluster:
        await cluster.create(NAMESPACES, {"metadata": {"name": name}})
    return target

"""Dockerfiles are read strictly, and ours are among what is known."""

import ast
import re
import sys
import tomllib
from contextlib import suppress
from functools import cache
from importlib import metadata

import pytest

from kubectl_chrek.api.errors import ChrekError
from release.archive import ImageConfig
from release.dockerfile import Copy, From, Run, Setting, read_dockerfile
from release.freeze import ROOT
from release.image import BASES, configured, copy

GPU_PACKAGES = {"cuda": ["cuda-bindings"], "pynvml": ["nvidia-ml-py"]}
"""Module -> package of what a machine without a GPU need not have installed."""
TEXT = """\
# A comment.
FROM debian:13.8-slim
ENV A=1 B="two words"
RUN apt-get update \\
    # within one
    && apt-get install -y python3
COPY one two /src/
WORKDIR /src
USER 65532:65532
ENTRYPOINT ["/bin/program", "--flag"]
"""


def test_each_instruction_is_read():
    assert read_dockerfile(TEXT) == [
        From("debian:13.8-slim"),
        Setting("ENV", pairs=(("A", "1"), ("B", "two words"))),
        Run("apt-get update && apt-get install -y python3"),
        Copy(("one", "two"), "/src/"),
        Setting("WORKDIR", words=("/src",)),
        Setting("USER", words=("65532:65532",)),
        Setting("ENTRYPOINT", words=("/bin/program", "--flag")),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ADD one /", "line 2: ADD"),
        ("COPY --from=stage /a /b", "line 2: COPY"),
        ("COPY one two /src", "must end in a slash"),
        ("RUN --mount=type=cache,target=/x true", "line 2: RUN"),
        ("ENV A 1", "line 2: ENV"),
        ("ENTRYPOINT program", "line 2: ENTRYPOINT"),
        ("ENTRYPOINT [program]", "not a list of words"),
        ("FROM other", "more than one FROM"),
        ("RUN true \\", "has no end"),
    ],
)
def test_whatever_else_is_an_error(line, said):
    with pytest.raises(ChrekError, match=said):
        read_dockerfile(f"FROM debian:13.8-slim\n{line}\n")


def test_a_base_is_wanted_first():
    with pytest.raises(ChrekError, match="begin with FROM"):
        read_dockerfile("RUN true\n")


def test_settings_make_the_configuration():
    config = ImageConfig(environment={"PATH": "/bin"})
    for step in read_dockerfile(TEXT):
        config = configured(config, step) if isinstance(step, Setting) else config
    assert config == ImageConfig(
        environment={"PATH": "/bin", "A": "1", "B": "two words"},
        entrypoint=("/bin/program", "--flag"),
        user="65532:65532",
        folder="/src",
    )


def test_variables_in_an_environment_are_those_above():
    config = configured(ImageConfig(environment={"PATH": "/bin"}), Setting("ENV", pairs=(("PATH", "/own:$PATH"),)))
    assert config.environment == {"PATH": "/own:/bin"}
    with pytest.raises(ChrekError, match="not set"):
        configured(config, Setting("ENV", pairs=(("A", "${MISSING}"),)))


def test_copying_keeps_to_dockerignore(tmp_path):
    context, root = tmp_path / "context", tmp_path / "root"
    (context / "code" / "__pycache__").mkdir(parents=True)
    (context / "code" / "__pycache__" / "x.pyc").touch()
    (context / "code" / "a.py").write_text("a")
    (context / "file").write_text("f")
    (context / ".dockerignore").write_text("secret\n**/__pycache__\n")
    copy(context, ("code",), root, "/src/code/")
    copy(context, ("file",), root, "/src/")
    copy(context, ("file",), root, "/named")
    assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} == {"src/code/a.py", "src/file", "named"}
    (context / "secret").touch()
    for source in ("secret", "missing"):
        with pytest.raises(ChrekError, match=source):
            copy(context, (source,), root, "/src/")


@pytest.mark.parametrize("program", ["agent", "operator"])
def test_our_images_hold_what_their_programs_need(program):
    steps = read_dockerfile((ROOT / program / "Dockerfile").read_text())
    assert steps[0].image in BASES
    copied = [source for step in steps if isinstance(step, Copy) for source in step.sources]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"]} <= set(copied)
    entries = [step.words for step in steps if isinstance(step, Setting) and step.name == "ENTRYPOINT"]
    assert entries == [("/opt/chrek/venv/bin/python", "-m", f"chrek_{program}")]


def distribution(name):
    """As PyPI spells it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


@cache
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def imported(*folders):
    """Top-level modules that any file imports at any place, the standard library's and ours left out."""
    found = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.partition(".")[0] for name in names}
    ours = {"kubectl_chrek", "chrek_agent", "chrek_operator", "chrek_worker"}
    return {name for name in found - ours if name not in sys.stdlib_module_names}


def with_requirements(names):
    """These and what they bring along; what is not installed here, such as a GPU's bindings, brings nothing."""
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            with suppress(metadata.PackageNotFoundError):
                left += [distribution(text) for text in metadata.requires(name) or () if "extra ==" not in text]
    return found


@pytest.mark.parametrize(
    ("program", "folders"),
    [
        ("agent", ["agent/chrek_agent", "kubectl_chrek/api", "kubectl_chrek/cluster"]),
        ("operator", ["operator/chrek_operator", "kubectl_chrek/api", "kubectl_chrek/cluster"]),
    ],
)
def test_our_images_install_all_that_their_programs_import(program, folders):
    """Also what is imported for one kind of store only, at the moment of its use."""
    command = next(step.command for step in read_dockerfile((ROOT / program / "Dockerfile").read_text()) if "/src[" in str(step))
    extras, others = re.search(r"'/src\[([\w,]+)\]'((?: [\w-]+)*)", command).groups()
    wanted = [*project()["dependencies"], *others.split()]
    wanted += [requirement for extra in extras.split(",") for requirement in project()["optional-dependencies"][extra]]
    asked = {distribution(requirement) for requirement in wanted}
    installed = with_requirements(asked)
    packages = {**GPU_PACKAGES, **metadata.packages_distributions()}
    missing = {
        name: packages.get(name, ["?"])
        for name in imported(*folders)
        if not installed & {distribution(found) for found in packages.get(name, ())}
    }
    assert missing == {}
    assert asked <= pinned()


def pinned():
    lines = (ROOT / "release" / "constraints.txt").read_text().splitlines()
    return {line.partition("==")[0] for line in lines if not line.startswith("#")}


def test_versions_of_python_packages_are_pinned():
    lines = (ROOT / "release" / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[a-z0-9-]+==[\w.]+", line)] == []

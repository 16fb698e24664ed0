"""Dockerfiles are read strictly, and ours are among what is known."""

import tomllib

import pytest

from kubectl_chrek.api.errors import ChrekError
from release.archive import ImageConfig
from release.dockerfile import Copy, From, Run, Setting, read_dockerfile
from release.freeze import ROOT
from release.image import BASES, configured, copy

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


def test_versions_of_python_packages_are_pinned():
    lines = (ROOT / "release" / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {"kubernetes", "kopf", "pydantic", "blake3", "zstandard", "cryptography", "cuda-bindings"} <= set(pinned)

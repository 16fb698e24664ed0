"""Rules that no linter of ours checks."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("kubectl_chrek", "operator", "agent", "worker")
STREAM_OWNERS = {"kubectl_chrek/cli/output.py", "kubectl_chrek/cli/diagnostics.py"}
FORBIDDEN_STREAMS = re.compile(r"\bsys\.std(out|err)\b")
LONGEST_FILE = 500
LONGEST_FUNCTION = 50


def sources(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, str(path.relative_to(ROOT))


def functions():
    for path, name in sources(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{name}:{node.lineno} {node.name}", node


def body_lines(function):
    """Lines of the code; signature and docstring are for the reader."""
    code = function.body[1:] if ast.get_docstring(function) else function.body
    return code[-1].end_lineno - code[0].lineno + 1 if code else 0


def test_operator_and_agent_shadow_no_standard_library_module():
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "agent" / "__init__.py").exists()
    code = "import operator, sys; sys.exit('operator' not in operator.__name__ or not hasattr(operator, 'eq'))"
    assert subprocess.run(["python3", "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_file_is_too_long():
    long = {
        name: lines for path, name in sources(*PACKAGES, "tests") if (lines := len(path.read_text().splitlines())) > LONGEST_FILE
    }
    assert long == {}


def test_no_function_is_too_long():
    long = {name: length for name, node in functions() if (length := body_lines(node)) > LONGEST_FUNCTION}
    assert long == {}


def test_nothing_prints():
    printing = [
        name
        for path, name in sources(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_two_modules_own_stdout_and_stderr():
    users = {name for path, name in sources("kubectl_chrek") if FORBIDDEN_STREAMS.search(path.read_text())}
    assert users == STREAM_OWNERS


def test_modules_say_what_they_hold():
    vague = {"utils.py", "util.py", "helpers.py", "helper.py", "manager.py", "common.py", "misc.py"}
    assert [name for path, name in sources(*PACKAGES, "tests") if path.name in vague] == []


def test_test_files_have_names_of_their_own():
    names = [path.name for path, _ in sources("tests") if path.name != "conftest.py"]
    assert len(names) == len(set(names))


def snapshots():
    """The file of tests that each snapshot is for, and the snapshot's name there."""
    for place in sorted((ROOT / "tests").glob("*/__snapshots__/*")):
        module = str((place.parents[1] / f"{place.name.removesuffix('.ambr')}.py").relative_to(ROOT))
        names = (
            re.findall(r"^# name: (.*)$", place.read_text(), re.MULTILINE)
            if place.is_file()
            else [each.stem for each in place.iterdir()]
        )
        yield from ((module, name) for name in names)


def test_no_snapshot_is_left_over(collected, pytestconfig):
    """The plug-in itself finds them only where one process runs all tests."""
    tests = {}
    for name in collected:
        module, _, test = name.partition("::")
        tests.setdefault(module, []).append(test)
    whole = set(tests) - {argument.partition("::")[0] for argument in pytestconfig.args if "::" in argument}
    left = [
        f"{module}: {name}"
        for module, name in snapshots()
        if (module in whole and not any(name == test or name.startswith((f"{test}[", f"{test}.")) for test in tests[module]))
        or not (ROOT / module).exists()
    ]
    assert left == []

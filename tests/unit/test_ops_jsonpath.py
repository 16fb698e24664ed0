"""JSONPath as kubectl has it."""

import pytest

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.ops.jsonpath import find, parse_path, render

LIST = {
    "items": [
        {"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "status": {"phase": "Ready", "n": 3, "ok": True}},
        {"metadata": {"name": "b"}, "status": {"phase": "Failed"}},
    ]
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[*].metadata.name}", "a b"),
        ("{$.items[1].metadata.name}", "b"),
        ("{.items[-1].metadata.name}", "b"),
        ("{.items[0:1].metadata.name}{.items[5].metadata.name}", "a"),
        ("{.items[0].status.*}", "Ready 3 true"),
        ("{..name}", "a b"),
        (r"{.items[0].metadata.labels.x\.y/z}", "1"),
        ("{.items[0].metadata.labels['x.y/z']}", "1"),
        ('{.items[?(@.status.phase=="Ready")].metadata.name}', "a"),
        ("{.items[?(@.status.phase != 'Ready')].metadata.name}", "b"),
        ("{.items[?(@.status.n>=2)].metadata.name}", "a"),
        ("{.items[?(@.status.phase>2)].metadata.name}", ""),
        ("{.items[?(@.status.ok==true)].metadata.name}", "a"),
        ("{.items[?(@.status.n)].metadata.name}", "a"),
        ("{.items[1].status}", '{"phase":"Failed"}'),
        ("name: {.items[0].metadata.name}!", "name: a!"),
        ("{.missing.field}", ""),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.status.phase}{"\\n"}{end}', "a\tReady\nb\tFailed\n"),
        ("{range .items[*]}[{range .status.*}<{@}>{end}]{end}", "[<Ready><3><true>][<Failed>]"),
        ("{range .missing[*]}{.x}{end}done", "done"),
        ("{'{}'}", "{}"),
        ("plain", "plain"),
    ],
)
def test_templates(template, text):
    assert render(template, LIST) == text


@pytest.mark.parametrize(
    "template", ["{.a", "a}", "{range .items[*]}x", "{end}", "{.a[}", "{.a[?(x)]}", "{.items[?(@.a==b)]}", '{"\\q"}', "{.a b}"]
)
def test_what_cannot_be_read(template):
    with pytest.raises(UsageError, match="jsonpath"):
        render(template, LIST)


@pytest.mark.parametrize("path", [".status.phase", "{.status.phase}", "status.phase", "$.status.phase", "['status'].phase"])
def test_paths_may_be_written_in_all_of_kubectls_ways(path):
    assert find(parse_path(path), LIST["items"][0]) == ["Ready"]


def test_the_root():
    assert find(parse_path("{.}"), 1) == find(parse_path("{$}"), 1) == find(parse_path("@"), 1) == [1]

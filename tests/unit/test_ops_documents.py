"""Files of documents: what is found where, and what stays of the rest when one is broken."""

import pytest

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.ops.documents import Document, parse_documents


def parse(text):
    found = list(parse_documents(text, "f"))
    return [each.content if isinstance(each, Document) else str(each) for each in found]


@pytest.mark.parametrize(
    ("text", "contents"),
    [
        ("a: 1\n", [{"a": 1}]),
        ("---\na: 1\n---\n\n# no\n---\nb: 2\n...\n", [{"a": 1}, {"b": 2}]),
        ("--- {a: 1}\n--- # two\nb: 2", [{"a": 1}, {"b": 2}]),
        ("%YAML 1.1\n---\na: 1", [{"a": 1}]),
        ("a: |\n  x\n  --- y\n---\nb: 1", [{"a": "x\n--- y\n"}, {"b": 1}]),
        ("a:\r\n  - 1\r\n---\r\nb: 2\r\n", [{"a": [1]}, {"b": 2}]),
        ('{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ('{"a": 1}{"b": 2}', [{"a": 1}, {"b": 2}]),
        ('{\n  "a": 1\n}\n{\n  "b": 2\n}\n', [{"a": 1}, {"b": 2}]),
        ('[{"a": 1},\n {"b": 2}]', [[{"a": 1}, {"b": 2}]]),
        ('{"a": 1}\n---\nb: 2\n---\n{"c": 3}', [{"a": 1}, {"b": 2}, {"c": 3}]),
        ("{a: 1, b: [x]}", [{"a": 1, "b": ["x"]}]),
        ("{a: 1}\n{b: 2}\n", [{"a": 1}, {"b": 2}]),
        ("{a: 1,\n b: 2}\n", [{"a": 1, "b": 2}]),
        ('{"a": "\u2028\x85\x7f"}', [{"a": "\u2028\x85\x7f"}]),
        ('{"a": "\\u2028\\ud83d\\ude00"}', [{"a": "\u2028😀"}]),
        ("<<: {a: 1}\na: 2", [{"a": 2}]),
    ],
)
def test_what_is_found(text, contents):
    assert parse(text) == contents


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n---\nb: [\n---\nc: 3", [{"a": 1}, "f: document 2 (line 4): not valid YAML: ", {"c": 3}]),
        ('{"a": 1}\n{"b": \n{"c": 3}', [{"a": 1}, "f: document 2 (line 2): not valid JSON: expecting ", {"c": 3}]),
        ('{"a": 1} x: [\n{"c": 3}', [{"a": 1}, "f: document 2 (line 1): not valid JSON: expecting value at line 1,"]),
        ('{"a": 1, "a": 2}', ["f: document 1 (line 1): key 'a' is given twice"]),
        ("\n\na: 1\nb: 2\na: 3", ["f: document 1 (line 5): key 'a' is given twice"]),
        ("a: !!python/name:os.system", ["f: document 1 (line 1): not valid YAML: could not determine a constructor"]),
        ("a: 2024-13-45", ["f: document 1 (line 1): not valid YAML: month must be in 1..12"]),
        ("a: \x07", ["f: document 1 (line 1): not valid YAML: unacceptable character"]),
        ("? [a]\n: b", ["f: document 1 (line 1): not valid YAML: found unhashable key"]),
        ("a: *nowhere", ["f: document 1 (line 1): not valid YAML: found undefined alias"]),
        ("", ["f: no document found"]),
    ],
)
def test_what_is_broken_is_told_and_hides_nothing(text, expected):
    found = parse(text)[: len(expected)]
    for got, wanted in zip(found, expected, strict=True):
        assert got.startswith(wanted) if isinstance(wanted, str) else got == wanted


def test_numbers_and_lines():
    found = list(parse_documents('# c\n---\na: 1\n---\n{"b": 2}\n\n{"c": 3}', "f"))
    assert [each.where for each in found] == ["f: document 1 (line 2)", "f: document 2 (line 5)", "f: document 3 (line 7)"]


def test_a_broken_document_is_an_error_of_the_user():
    assert all(isinstance(each, UsageError) for each in parse_documents("a: [", "f"))

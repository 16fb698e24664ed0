"""The filter of a table: words that must all be found.

`word` is found anywhere in a row, `!word` must not be found, `~word` is found when its letters occur in this order in one cell;
the word after `-l` is a selector of labels, as kubectl's: `app=x`, `app!=x`, `app`, `!app`, with commas between several.
"""

from collections.abc import Callable, Mapping
from typing import Final

Match = Callable[[str, Mapping[str, str]], bool]
"""A test of a row's haystack (its cells, case-folded, one a line) and of its labels."""

_NOT: Final = "!"
_FUZZY: Final = "~"
_LABELS: Final = "-l"


def compile_filter(text: str) -> Match | None:
    """The test for a row; None when the filter is empty."""
    tests: list[Match] = []
    words = iter(text.split())
    for word in words:
        if word == _LABELS:
            tests += [_label(part) for part in next(words, "").split(",") if part.strip(_NOT)]
        elif test := _test(word.casefold()):
            tests.append(_anywhere(test))
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda haystack, labels: all(test(haystack, labels) for test in tests)


def _anywhere(test: Callable[[str], bool]) -> Match:
    return lambda haystack, _: test(haystack)


def _label(selector: str) -> Match:
    key, equals, value = selector.replace("==", "=").partition("=")
    if not equals:
        name = key.removeprefix(_NOT)
        return lambda _, labels: (name in labels) is not key.startswith(_NOT)
    if key.endswith(_NOT):
        return lambda _, labels: labels.get(key[:-1]) != value
    return lambda _, labels: labels.get(key) == value


def _test(word: str) -> Callable[[str], bool] | None:
    if word.startswith(_NOT):
        inner = _test(word[1:])
        return None if inner is None else lambda haystack: not inner(haystack)
    if word.startswith(_FUZZY):
        letters = word[1:]
        return (lambda haystack: any(_in_order(letters, cell) for cell in haystack.split("\n"))) if letters else None
    return (lambda haystack: word in haystack) if word else None


def _in_order(letters: str, cell: str) -> bool:
    rest = iter(cell)
    return all(letter in rest for letter in letters)

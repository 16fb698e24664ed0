"""The filter of the list: words that must all be found.

`word` is found anywhere in a row, `!word` must not be found, `~word` is found when its letters occur in this order in one cell.
"""

from collections.abc import Callable
from typing import Final

Match = Callable[[str], bool]

_NOT: Final = "!"
_FUZZY: Final = "~"


def compile_filter(text: str) -> Match | None:
    """The test for a row's haystack (its cells, case-folded, one a line); None when the filter is empty."""
    tests = [test for word in text.casefold().split() if (test := _test(word)) is not None]
    return (lambda haystack: all(test(haystack) for test in tests)) if tests else None


def _test(word: str) -> Match | None:
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

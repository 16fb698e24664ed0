"""The only writer of stdout: tables, names, JSON and YAML, as kubectl prints them."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import TextIOWrapper
from typing import Any, Final

_GUTTER: Final = "   "
# What would end or rewrite a line on a terminal, or hide in it; a table's row is one line whatever a model is called.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def prepare_streams() -> None:
    """Makes stdout and stderr UTF-8 whatever the locale, as kubectl's are; what no UTF-8 can say is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def write(text: str) -> None:
    """Writes text as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_lines(lines: Iterable[str]) -> None:
    """Writes lines at once."""
    write("".join(f"{line}\n" for line in lines))


def one_line(text: str) -> str:
    """The text with all its line breaks and control characters made visible."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def write_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, show_headers: bool = True, widths: Sequence[int] = ()
) -> list[int]:
    """Writes columns as wide as their widest cell, three spaces apart, the last one ragged; returns the widths.

    Args:
        headers: Titles of the columns.
        rows: Their cells.
        show_headers: Whether the titles are written.
        widths: What an earlier part of the same table returned.
    """
    cells = [list(headers)] * show_headers + [[one_line(cell) for cell in row] for row in rows]
    least = list(widths) or [0] * len(headers)
    now = [max(first, *map(len, column)) if column else first for first, *column in zip(least, *cells, strict=True)]
    write_lines(_GUTTER.join(cell.ljust(width) for cell, width in zip(row, now, strict=True)).rstrip() for row in cells)
    return now


def write_json(value: object) -> None:
    """Writes indented JSON."""
    write(_as_json(value) + "\n")


def write_yaml(value: object) -> None:
    """Writes one YAML document."""
    write(_as_yaml(value))


def write_structured(kind: str, value: object) -> None:
    """Writes as `kind`, json or yaml."""
    if kind == "json":
        write_json(value)
    else:
        write_yaml(value)


def as_list(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Kubectl's envelope around many objects."""
    return {"apiVersion": "v1", "items": list(items), "kind": "List", "metadata": {"resourceVersion": ""}}


class ListWriter:
    """Writes what write_structured makes of as_list, to the letter, but as the objects come: none of them is kept."""

    def __init__(self, kind: str) -> None:
        before, after = (_as_json if kind == "json" else _as_yaml)(as_list(())).split("[]")
        self._kind, self._before, self._after = kind, before, after
        self._any = False

    def write(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Writes some more objects."""
        if items and self._kind == "json":
            pieces = [_as_json(item).replace("\n", "\n" + _JSON_ITEM) for item in items]
            write((",\n" if self._any else f"{self._before}[\n") + ",\n".join(_JSON_ITEM + piece for piece in pieces))
        elif items:
            write(("" if self._any else f"{self._before.rstrip()}\n") + _as_yaml(items))
        self._any = self._any or bool(items)

    def end(self) -> None:
        """Writes what follows the objects."""
        closing = {"json": f"\n{_JSON_ITEM[:4]}]{self._after}\n", "yaml": self._after.lstrip()}
        write(closing[self._kind] if self._any else f"{self._before}[]{self._after}" + "\n" * (self._kind == "json"))


_JSON_ITEM: Final = " " * 8
"""How far an object of a list is indented."""


_ENDLESS: Final = 2**31 - 1
"""Lines of YAML are not folded."""


def _as_json(value: object) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False)


def _as_yaml(value: object) -> str:
    import yaml

    text: str = yaml.dump(value, Dumper=_dumper(), sort_keys=False, allow_unicode=True, default_flow_style=False, width=_ENDLESS)
    return text


def _dumper() -> Any:
    import yaml

    # The one in C is three times as fast, which a long list needs.
    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Never writes anchors: kubectl's users do not expect them."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Dumper

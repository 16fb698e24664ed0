"""Pictures of screens as text: the characters and, under them, which style each has in each of several looks."""

from collections.abc import Iterator
from itertools import groupby, product
from string import ascii_lowercase

CODES = ["".join(letters) for length in (1, 2, 3) for letters in product(ascii_lowercase, repeat=length)]


class Picture:
    """What a screen's lines say, and the runs of one style in each of them."""

    def __init__(self, strips):
        self.lines = [strip.text.rstrip() for strip in strips]
        self.runs = [[*_runs(strip)] for strip in strips]


def _runs(strip):
    """A style and for how many cells it goes on."""
    styles = ((_name(segment.style), segment.cell_length) for segment in strip if segment.text)
    for name, same in groupby(styles, key=lambda each: each[0]):
        yield name, sum(length for _, length in same)


def _name(style):
    return str(style.clear_meta_and_links()) if style else "none"


class Album:
    """Pages of pictures. Cells that are styled alike in all looks have the same code; lines that are styled alike are counted."""

    def __init__(self):
        self.pages, self.codes = [], {}

    def add(self, place, pictures: dict[str, Picture]):
        """One screen in all looks: those that differ by no character share a page."""
        alike: dict[str, dict[str, Picture]] = {}
        for look, picture in pictures.items():
            alike.setdefault("\n".join(picture.lines).rstrip(), {})[look] = picture
        for text, looks in alike.items():
            shown = place if len(looks) == len(pictures) else f"{place} ({', '.join(looks)})"
            styles = [" ".join(self._line(looks, number)) for number in range(len(next(iter(looks.values())).lines))]
            counted = [f"{len([*same]):>3} {line}" for line, same in groupby(styles)]
            self.pages += [f"===== {shown}", text, "-----", *counted]

    def _line(self, looks, number) -> Iterator[str]:
        left = {look: [*picture.runs[number]] for look, picture in looks.items()}
        while any(left.values()):
            length = min(runs[0][1] for runs in left.values())
            yield f"{length}{self._code(tuple((look, runs[0][0]) for look, runs in left.items()))}"
            for runs in left.values():
                style, whole = runs.pop(0)
                if whole > length:
                    runs.insert(0, (style, whole - length))

    def _code(self, styles):
        return self.codes.setdefault(styles, CODES[len(self.codes)])

    @property
    def text(self):
        legend = (f"{code:>3} " + " | ".join(f"{look}: {style}" for look, style in styles) for styles, code in self.codes.items())
        return "\n".join([*self.pages, "===== styles", *legend, ""])

"""What every screen looks like in every state at three sizes, and when all is well in two themes and without colour.

A file for each state and look holds all screens one after the other: their characters and, under them, which style each has.
`make snap` writes them anew.
"""

from itertools import groupby, product
from string import ascii_lowercase

import pytest
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.widgets import Input
from tui_moods import MANY, Moods

LOOKS = {
    "80x24": ((80, 24), "textual-dark"),
    "250x80": ((250, 80), "textual-dark"),
    "120x40": ((120, 40), "textual-dark"),
    "120x40-ansi": ((120, 40), "ansi-dark"),
    "120x40-NO_COLOR": ((120, 40), "textual-dark"),
}
"""Where things stand depends on the size, colours do not: those are looked at in one size."""
SIZES = ["80x24", "250x80", "120x40"]
TROUBLES = ["empty", "loading", "error", "stale", "many"]
LISTS = ["checkpoints", "nodes", "graphs", "storage", "gc", "doctor", "errors"]
TABS = ["overview", "timeline", "pods", "events", "logs", "yaml", "hash", "compat", "artifact"]
READ = ["pods", "events", "logs", "compat"]
"""Tabs that ask for something themselves."""
MORE = [
    ("policy", "gc --keep-last 1 --max-bytes 10Gi", ""),
    ("prewarm", "prewarm", ""),
    ("themes", "theme", ""),
    ("namespaces", "checkpoints", "n"),
    ("command", "checkpoints", "colon n o"),
    ("capture", "checkpoints", "g j j j enter 2"),
    ("failed", "checkpoints", "G enter"),
    ("diff", "checkpoints", "g space space x"),
    ("question", "checkpoints", "ctrl+d"),
    ("narrowed", "checkpoints", "S slash v l l m enter"),
    ("help", "checkpoints", "question_mark"),
]
CODES = ["".join(letters) for length in (1, 2) for letters in product(ascii_lowercase, repeat=length)]


class OneFileEach(SingleFileSnapshotExtension):
    _file_extension = "txt"
    _write_mode = WriteMode.TEXT


class Album:
    """Pictures as text. Each style has a code; lines that are styled alike are counted."""

    def __init__(self):
        self.pages, self.codes = [], {}

    def add(self, place, strips):
        text = "\n".join(strip.text.rstrip() for strip in strips).rstrip()
        styles = [f"{len([*same]):>3} {line}" for line, same in groupby(self.runs(strip) for strip in strips)]
        self.pages += [f"===== {place}", text, "-----", *styles]

    def runs(self, strip):
        styles = [(self.code(segment.style), segment.cell_length) for segment in strip if segment.text]
        return " ".join(f"{sum(n for _, n in same)}{code}" for code, same in groupby(styles, key=lambda each: each[0]))

    def code(self, style):
        text = str(style.clear_meta_and_links()) if style else "none"
        return self.codes.setdefault(text, CODES[len(self.codes)])

    @property
    def text(self):
        return "\n".join([*self.pages, "===== styles", *(f"{code:>2} {style}" for style, code in self.codes.items()), ""])


class Walk:
    """Goes from screen to screen with a source that is well, silent or broken."""

    def __init__(self, driver, source, pause):
        self.driver, self.app, self.source, self.pause = driver, driver.app, source, pause
        self.album = Album()

    async def go(self, command, keys=""):
        await self.app.action_command(command)
        await self.driver.settle()
        await self.driver.press(*keys.split())

    async def shoot(self, place):
        """Once the page moves no more: tabs are scrolled a little after they are drawn."""
        for field in self.app.screen.query(Input):
            field.cursor_blink = False
        now, before = None, []
        while before != now:
            before = now
            await self.driver.settle()
            now = self.app.screen._compositor.render_strips(self.app.size)
        self.album.add(place, now)

    async def feel(self, mood):
        """What waits for its next attempt makes it now."""
        self.source.feel(mood)
        await self.pause.pass_time()
        await self.driver.settle()

    async def break_off(self):
        self.source.lose_all()
        await self.feel("broken")

    async def lists(self, names=LISTS):
        for name in names:
            await self.go(name)
            await self.shoot(name)

    async def tabs(self, names=TABS, before=""):
        """All tabs of one checkpoint, which something befalls `before` or after it is opened."""
        await self.go("checkpoints", "g j j")
        if before:
            self.source.feel(before)
        await self.driver.press("enter")
        for name in names:
            await self.driver.press(str(TABS.index(name) + 1))
            await self.shoot(name)

    async def well(self):
        self.app.session.note("the watch ended [/]", "error")
        self.app.session.note("Copied llama-3-8b", "information")
        await self.lists()
        await self.tabs()
        for place, command, keys in MORE:
            await self.go(command, keys)
            await self.shoot(place)

    async def empty(self):
        checkpoints = self.source.empty()
        self.app.session.choose_namespace("")
        await self.lists()
        self.source.checkpoints = [body for body in checkpoints if body["status"]["phase"] == "Pending"]
        self.app.session.choose_namespace("")
        await self.driver.settle()
        await self.tabs()

    async def trouble(self, mood):
        self.source.feel(mood)
        self.app.session.choose_namespace("")
        await self.lists()
        self.source.feel("well")
        self.app.session.choose_namespace("")
        await self.driver.settle()
        await self.tabs(READ, before=mood)

    async def loading(self):
        await self.trouble("silent")

    async def error(self):
        await self.trouble("broken")

    async def stale(self):
        for name in LISTS:
            await self.go(name)
            await self.break_off()
            await self.shoot(name)
            await self.feel("well")
        await self.go("checkpoints", "g j j enter")
        for name in READ:
            await self.driver.press(str(TABS.index(name) + 1))
            await self.break_off()
            await self.shoot(name)
            await self.feel("well")
        await self.break_off()
        for name in TABS:
            if name not in READ:
                await self.driver.press(str(TABS.index(name) + 1))
                await self.shoot(name)

    async def many(self):
        self.source.crowd()
        self.app.session.choose_namespace("")
        await self.lists(["checkpoints"])
        await self.tabs(READ)
        del self.source.checkpoints[MANY:]
        await self.lists(["graphs", "storage", "gc", "doctor"])


@pytest.fixture
def moody(fake_source, source, rich_samples):
    """The source with moods."""

    class Moody(Moods, fake_source):
        pass

    made = Moody()
    for name in ("checkpoints", "pods", "nodes", "graphs", "workers", "event_list", "found", "log"):
        setattr(made, name, getattr(source, name))
    return made


@pytest.mark.parametrize(("state", "look"), [*product(["well"], LOOKS), *product(TROUBLES, SIZES)])
async def test_looks(start, moody, pause, snapshot, monkeypatch, state, look):
    size, theme = LOOKS[look]
    if "NO_COLOR" in look:
        monkeypatch.setenv("NO_COLOR", "1")
    async with start(moody, size=size) as driver:
        driver.app.theme = theme
        walk = Walk(driver, moody, pause)
        await getattr(walk, state)()
    assert walk.album.text == snapshot(extension_class=OneFileEach)

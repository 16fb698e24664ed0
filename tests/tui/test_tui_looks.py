"""What every screen looks like in every state, at three sizes, in two themes and without colour.

For each state and size a file holds all screens one after the other. `make snap` writes them anew.
"""

from copy import deepcopy

import pytest
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.widgets import Input
from tui_album import Album, Picture
from tui_moods import MANY, Moods

from kubectl_chrek.tui.config import Config

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "250x80": (250, 80)}
LOOKS = {"dark": "textual-dark", "ansi": "ansi-dark", "NO_COLOR": "textual-dark"}
STATES = ["well", "empty", "loading", "error", "stale", "many"]
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

# Only what is looked at is drawn, not each frame on the way there.
pytestmark = pytest.mark.usefixtures("unseen")


class OneFileEach(SingleFileSnapshotExtension):
    _file_extension = "txt"
    _write_mode = WriteMode.TEXT


def picture(app):
    """What is on the screen, and behind a question."""
    return Picture(app.screen._compositor.render_inline(app.size, screen_stack=app._background_screens).strips)


class Walk:
    """Goes from screen to screen with a source that is well, silent or broken."""

    def __init__(self, driver, source, pause):
        self.driver, self.app, self.source, self.pause = driver, driver.app, source, pause
        self.sizes = [*SIZES]
        self.pages = []
        """The place and the size of each picture, and the picture."""

    async def go(self, command, keys=""):
        await self.app.action_command(command)
        await self.driver.settle()
        await self.driver.press(*keys.split())

    async def shoot(self, place):
        """At all sizes, beginning with the one there is: every other screen is opened in the largest."""
        for field in self.app.screen.query(Input):
            field.cursor_blink = False
        for name in self.sizes:
            await self.driver.resize(*SIZES[name])
            self.pages.append((place, name, picture(self.app)))
        self.sizes.reverse()

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
        await self.lists(["nodes", "graphs", "storage", "gc", "doctor"])


@pytest.fixture
def moody(fake_source, source, rich_samples):
    """The source with moods."""

    class Moody(Moods, fake_source):
        pass

    made = Moody()
    for name in ("checkpoints", "pods", "nodes", "graphs", "workers", "event_list", "found", "log"):
        setattr(made, name, getattr(source, name))
    return made


async def walk(start, source, pause, state, look):
    """All places of a state in a program that has just been started."""
    with pytest.MonkeyPatch.context() as patch:
        if look == "NO_COLOR":
            patch.setenv("NO_COLOR", "1")
        async with start(source, size=SIZES["80x24"], pause=pause, config=Config(theme=LOOKS[look])) as driver:
            way = Walk(driver, source, pause)
            await getattr(way, state)()
    return way.pages


@pytest.mark.timeout(600)
@pytest.mark.parametrize("state", STATES)
async def test_looks(start, moody, pause, snapshot, state):
    walks = {look: await walk(start, deepcopy(moody), pause, state, look) for look in LOOKS}
    albums = {size: Album() for size in SIZES}
    for taken in zip(*walks.values(), strict=True):
        place, size, _ = taken[0]
        albums[size].add(place, {look: picture for look, (_, _, picture) in zip(walks, taken, strict=True)})
    for size, album in albums.items():
        assert album.text == snapshot(name=size, extension_class=OneFileEach)


async def test_a_theme_that_is_chosen_later_looks_as_from_the_start(start, source):
    pictures = []
    for config, command in [(Config(theme="ansi-dark"), ""), (Config(), "theme ansi-dark")]:
        async with start(source, config=config, command=command) as driver:
            pictures.append(picture(driver.app))
    one, other = pictures
    assert (one.lines, one.runs) == (other.lines, other.runs)

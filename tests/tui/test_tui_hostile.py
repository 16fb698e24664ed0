"""Text of unknown origin never crashes the TUI, is never anything but text, and never vanishes."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tui_poison import Poison

from kubectl_chrek.tui.plain import clean, clean_lines

PIECES = [
    "[red]",
    "[/]",
    "[@click=app.quit]x[/]",
    "\\[",
    "$error",
    "\x1b[31m",
    "\x9b",
    "\n",
    "\r",
    "\t",
    "\u202e",
    "\u2028",
    "\ud800",
]
PIECES += ["世界", "e\u0301", "\u200d", "{", "%s"]
short = st.text(max_size=5) | st.sampled_from([piece for piece in PIECES if piece != "\ud800"])
"""Without half of a pair, which no server's JSON can hold: an identity with one has no hash."""
hostile = st.lists(
    st.sampled_from([*PIECES, "[/checkpoints/e59]", "[nvidia.com/gpu]", "x" * 300]) | st.text(max_size=8), max_size=6
)
WORST = "".join([*PIECES, "x" * 300])
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
ONCE = settings(QUICK, max_examples=1)
"""Of a walk through the whole application another one each time."""

LIST, STAY = "checkpoints", ""
PLACES = {
    "list": (LIST, ""),
    "filter": (STAY, "slash [ / ]"),
    "namespaces": (STAY, "escape n"),
    "question": (STAY, "escape ctrl+d"),
    "what is done": (STAY, "escape c p u V"),
    "form": (LIST, "w"),
    "diff": (LIST, "g space space x"),
    "tab 1": (LIST, "g enter"),
    **{f"tab {key}": (STAY, key) for key in "23456789"},
    "capture": (LIST, "G enter 2"),
    "command line": (LIST, "colon n s space"),
    **{name: (name, "g j j") for name in ("nodes", "graphs", "storage", "gc --all", "doctor", "errors")},
}
"""A command and keys that lead everywhere."""


def assert_safe(text):
    text.encode()
    assert not any(character in text for character in "\x1b\x9b\r\t\u202e\u2028")


def squeezed(text):
    """Lines are broken at blanks, and continued under their beginning."""
    return "".join(text.split())


def vanished(poison, told):
    """What was put into the cluster and is told nowhere; of what is cut to a bar's label the beginning is enough."""
    told = squeezed(told)

    def found(field, text):
        whole = {squeezed(form) for form in (clean(text), clean(clean_lines(text)), clean(repr(text)[1:-1]))}
        return any(each in told for each in whole) or (field in poison.CUT and text.partition("]")[0] + "]" in told)

    return [field for field, text in poison.texts.items() if not found(field, text)]


async def walk(start, poison, *, size):
    """Goes everywhere; returns all that is told there, but for the YAML, which tells everything anyway."""
    told = []
    async with start(poison.source(), size=size) as driver:
        driver.app.session.note(poison("note"), poison("severity"))
        for place, (command, keys) in PLACES.items():
            if command:
                await driver.app.action_command(command)
            await driver.press(*keys.split())
            assert driver.app.is_running
            screen = driver.app.screen
            shown = "\n".join(strip.text for strip in screen._compositor.render_strips(driver.app.size))
            assert_safe(shown)
            if place != "tab 6":
                told += [shown, screen.as_text() if hasattr(screen, "as_text") else ""]
    return "\n".join(told)


@ONCE
@given(text=short)
def test_no_string_of_a_cluster_vanishes(start, fake_source, text):
    """Everything in every object, on some screen, in a terminal that is wide enough."""
    poison = Poison(fake_source, text)
    assert vanished(poison, asyncio.run(walk(start, poison, size=(200, 50)))) == []


async def test_every_screen_survives_the_worst(start, fake_source):
    """Every tab, question and note, where there is no room for any of it."""
    await walk(start, Poison(fake_source, WORST), size=(80, 24))


@QUICK
@given(pieces=hostile)
def test_views_take_any_text_for_text(fake_source, frozen_now, pieces):
    poison = Poison(fake_source, "".join(pieces))
    for view in poison.views(frozen_now):
        assert_safe(view.plain)
    for cell in poison.cells(frozen_now):
        assert_safe(cell.text + "".join(cell.shorter))
        assert "\n" not in cell.text


@QUICK
@given(text=short)
def test_no_string_vanishes_from_the_views(fake_source, frozen_now, text):
    poison = Poison(fake_source, text)
    told = [view.plain for view in poison.views(frozen_now)] + [cell.text for cell in poison.cells(frozen_now)]
    kept = {field: text for field, text in poison.texts.items() if field not in ("server", "context", "log")}
    poison.texts = kept
    assert vanished(poison, "\n".join(told)) == []

"""A few screens as the pictures that a terminal shows; all the others are in test_tui_looks, as text."""

import pytest


@pytest.fixture
def compare(snap_compare, settled):
    """Compares once everything is drawn, after keys that are pressed one by one."""

    def run(app, *keys, size=(120, 40), theme=""):
        async def before(pilot):
            await settled(pilot)
            if theme:
                app.theme = theme
            for key in keys:
                await pilot.press(key)
                await settled(pilot)

        return snap_compare(app, terminal_size=size, run_before=before)

    return run


def test_list_filtered_sorted_and_marked(compare, make_app, source):
    assert compare(make_app(source), "S", "space", "space", "slash", *"vllm", "enter")


def test_question_before_deleting(compare, make_app, source):
    assert compare(make_app(source), "space", "space", "ctrl+d", size=(80, 24))


def test_timeline_in_an_ansi_theme(compare, make_app, source, rich_samples):
    assert compare(make_app(source), "j", "j", "enter", "2", theme="ansi-dark")


def test_list_without_colour(compare, make_app, source, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert compare(make_app(source), "j")

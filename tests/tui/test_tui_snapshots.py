"""What the TUI looks like: at three sizes, in its questions and troubles, in other themes and without colour."""

import pytest

SIZES = [(80, 24), (120, 40), (200, 60)]
LLAMA = ("slash", *"llama", "enter", "enter")


def by_size(test):
    return pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")(test)


@pytest.fixture
def compare(snap_compare, settled):
    """Compares once everything is drawn, after keys that are pressed one by one."""

    def run(app, *keys, size=(120, 40), first=None):
        async def before(pilot):
            await settled(pilot)
            if first:
                first(pilot.app)
                await settled(pilot)
            for key in keys:
                await pilot.press(key)
                await settled(pilot)

        return snap_compare(app, terminal_size=size, run_before=before)

    return run


@by_size
def test_list(compare, make_app, source, size):
    assert compare(make_app(source), size=size)


def test_list_of_one_namespace(compare, make_app, source):
    assert compare(make_app(source, namespace="default", read_only=True), size=(80, 24))


def test_list_filtered_sorted_and_marked(compare, make_app, source):
    assert compare(make_app(source), "S", "space", "space", "slash", *"vllm", "enter")


def test_list_during_an_outage(compare, make_app, source, outage):
    assert compare(make_app(source), first=lambda _: source.fail(outage))


def test_list_of_nothing(compare, make_app, fake_source):
    assert compare(make_app(fake_source()), size=(80, 24))


@by_size
def test_detail(compare, make_app, source, size):
    assert compare(make_app(source), *LLAMA, size=size)


@pytest.mark.parametrize("tab", [3, 6], ids=["pods", "yaml"])
def test_detail_tab(compare, make_app, source, tab):
    assert compare(make_app(source), *LLAMA, str(tab))


LOOKS = {"nodes": "textual-dark", "graphs": "textual-light", "gc": "ansi-dark"}


@pytest.mark.parametrize("command", LOOKS)
def test_screen(compare, make_app, source, command):
    app = make_app(source, command=command)
    app.theme = LOOKS[command]
    assert compare(app)


def test_storage_without_colour(compare, make_app, source, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert compare(make_app(source, command="storage"))


def test_command_line(compare, make_app, source):
    assert compare(make_app(source), "colon", "n", "o", size=(80, 24))


def test_detail_of_a_capture_under_way(compare, make_app, source):
    assert compare(make_app(source), "slash", *"mixtral", "enter", "enter", "2", size=(80, 24))


def test_question_before_deleting(compare, make_app, source):
    assert compare(make_app(source), "space", "space", "ctrl+d", size=(80, 24))


def test_question_for_a_namespace(compare, make_app, source):
    assert compare(make_app(source), "n", size=(80, 24))


def test_help(compare, make_app, source):
    assert compare(make_app(source), "question_mark")


@pytest.mark.parametrize("theme", ["ansi-dark", "textual-light"])
def test_list_in_another_theme(compare, make_app, source, theme):
    assert compare(make_app(source), "j", first=lambda app: setattr(app, "theme", theme))


def test_timeline_in_an_ansi_theme(compare, make_app, source):
    assert compare(make_app(source), *LLAMA, "2", first=lambda app: setattr(app, "theme", "ansi-dark"))


def test_list_without_colour(compare, make_app, source, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert compare(make_app(source), "j")

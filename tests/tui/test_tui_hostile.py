"""Text of unknown origin never crashes the TUI, and never is anything but text."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubectl_chrek.api import names
from kubectl_chrek.tui.views.document import document_view
from kubectl_chrek.tui.views.events import events_view
from kubectl_chrek.tui.views.overview import artifact_view, conditions_view, identity_view, state_view
from kubectl_chrek.tui.views.pods import pod_cells, read_pod
from kubectl_chrek.tui.views.rows import cells_at, read_row
from kubectl_chrek.tui.views.timeline import timeline_view

PIECES = [
    "[red]",
    "[/]",
    "[/checkpoints/e59]",
    "[@click=app.quit]x[/]",
    "[nvidia.com/gpu]",
    "\\[",
    "$error",
    "\x1b[31m",
    "\x9b",
    "\n",
    "\r",
]
PIECES += ["\t", "\u202e", "\u2028", "\ud800", "世界", "e\u0301", "\u200d", "{", "%s", "x" * 300]
hostile = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=6).map("".join)
WORST = "".join(PIECES)
KEYS = ["c", "slash", "[", "/", "]", "escape", "n", "escape", "ctrl+d", "escape", "enter", "2", "3", "4", "5", "6", "c", "ctrl+d"]


@pytest.fixture
def poisoned(checkpoint_body, ready):
    def make(text):
        status = ready(message=text, failure=text, location=text, jobName=text, storageType=text, identityHash=text)
        status["artifact"] |= {"node": text, "digest": text, "generation": text, "phases": {text: 1.5}}
        status["lastRestore"] |= {"pod": text, "node": text, "reason": text, "phases": {text: 2.5}}
        status["conditions"] = [{"type": text, "status": text, "reason": text, "message": text}]
        identity = {"model": text or "x", "dynamoVersion": text, "dtype": text, "extraParameters": {text: text}}
        return checkpoint_body(text or "x", uid="u", status=status, identity=identity, metadata={"annotations": {text: text}})

    return make


def assert_safe(text):
    text.encode()
    assert not any(character in text for character in "\x1b\x9b\r\t\u202e\u2028")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(text=hostile)
def test_views_take_any_text_for_text(poisoned, event_body, pod_body, frozen_now, text):
    row = read_row(poisoned(text))
    views = [identity_view(row, 60), state_view(row, frozen_now, 60), artifact_view(row, frozen_now, 60)]
    views += [conditions_view(row.checkpoint.status.conditions, frozen_now, 60), timeline_view(row.checkpoint, 60)]
    views += [document_view(row.body), events_view([event_body("e", text, text, kind=text, about=text)], frozen_now, 60)]
    for view in views:
        assert_safe(view.plain)
    pod = read_pod(pod_body(text, node=text, startup=json.dumps({"result": text, "reason": text, "seconds": 1})))
    for cell in (*cells_at(row, frozen_now), *pod_cells(pod, frozen_now)):
        assert_safe(cell.text)
        assert "\n" not in cell.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=2)
@given(texts=st.lists(hostile, min_size=20, max_size=20))
def test_a_table_of_any_texts_is_drawn(poisoned, fake_source, make_app, settled, texts):
    async def look():
        source = fake_source([poisoned(text) | {"metadata": _metadata(number)} for number, text in enumerate(texts)])
        async with make_app(source).run_test(size=(200, 40)) as pilot:
            await settled(pilot)
            assert_drawn_safely(pilot.app)

    asyncio.run(look())


async def test_the_application_survives_the_worst(poisoned, fake_source, event_body, pod_body, make_app, settled):
    """Every screen, tab, question and note, with the same text everywhere."""
    pod = pod_body(WORST, startup=WORST, source=True, status={"phase": WORST, "containerStatuses": []})
    pod["metadata"]["labels"][names.LABEL_NAME] = WORST
    body = poisoned(WORST)
    body["metadata"]["namespace"] = WORST
    source = fake_source([body], pods=[pod], events=[event_body("e", WORST, WORST)], log=WORST)
    source.server = WORST
    app = make_app(source)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        for key in KEYS:
            await pilot.press(key)
            await settled(pilot)
            assert_drawn_safely(app)


def _metadata(number):
    return {"name": f"cp-{number}", "namespace": "default", "uid": f"uid-{number}"}


def assert_drawn_safely(app):
    assert app.is_running
    for strip in app.screen._compositor.render_strips(app.size):
        assert_safe(strip.text)

"""Text of unknown origin never crashes the TUI, and never is anything but text."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubectl_chrek.api import names
from kubectl_chrek.api.node import read_node
from kubectl_chrek.ops import retention, usage
from kubectl_chrek.ops.findings import Finding
from kubectl_chrek.tui.plain import clean
from kubectl_chrek.tui.session import Note
from kubectl_chrek.tui.views.artifact import contents_view
from kubectl_chrek.tui.views.compat import compat_view
from kubectl_chrek.tui.views.document import document_view
from kubectl_chrek.tui.views.events import events_view
from kubectl_chrek.tui.views.findings import finding_entries, note_entries
from kubectl_chrek.tui.views.form import values_of, verdict_view
from kubectl_chrek.tui.views.graphs import graph_entries, read_worker
from kubectl_chrek.tui.views.nodes import node_entries
from kubectl_chrek.tui.views.overview import artifact_view, conditions_view, identity_view, state_view
from kubectl_chrek.tui.views.plan import plan_entries
from kubectl_chrek.tui.views.pods import pod_cells, read_pod
from kubectl_chrek.tui.views.rows import cells_at, read_row
from kubectl_chrek.tui.views.storage import storage_entries
from kubectl_chrek.tui.views.timeline import timeline_view
from kubectl_chrek.tui.widgets.table import VirtualTable

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
LIST_KEYS = "c slash [ / ] escape n escape ctrl+d escape p u V w escape"
KEYS = [*LIST_KEYS.split(), "enter", *"23456789", *["c", "e", "x", "escape", "ctrl+d", "escape"]]
COMMANDS = ["nodes", "graphs", "storage", "gc --all", "doctor", "errors"]


@pytest.fixture
def poisoned(checkpoint_body, ready):
    def make(text):
        status = ready(message=text, failure=text, location=text, jobName=text, storageType=text, identityHash=text)
        status["artifact"] |= {"node": text, "digest": text, "generation": text, "phases": {text: 1.5}}
        status["artifact"] |= {"processes": [{"pid": 1, "name": text, "bytes": 9}], "compatibility": facts(text), "uniqueBytes": 1}
        status["caches"] = [{"node": text, "bytes": 1}]
        status["verification"] = {"result": text, "message": text, "node": text}
        status["lastRestore"] |= {"pod": text, "node": text, "reason": text, "phases": {text: 2.5}}
        status["conditions"] = [{"type": text, "status": text, "reason": text, "message": text}]
        identity = {"model": text or "x", "dynamoVersion": text, "dtype": text, "extraParameters": {text: text}}
        return checkpoint_body(text or "x", uid="u", status=status, identity=identity, metadata={"annotations": {text: text}})

    return make


def facts(text):
    return {
        "architecture": text,
        "kernel": text,
        "criu": text,
        "driver": text,
        "gpus": [{"model": text, "mig": text}],
        "argv": [text],
    }


@pytest.fixture
def poisoned_node():
    def make(text):
        work = {"kind": text, "namespace": text, "checkpoint": text, "pod": text, "step": text}
        status = {
            "agent": {"version": text, "pod": text},
            "platform": facts(text + "x"),
            "store": {"type": text, "location": text or "x"},
            "cache": {"hashes": [text]},
            "operations": [work, work | {"bytesDone": 1, "bytesTotal": 9}],
            "checks": [{"name": text, "verdict": text, "message": text, "fix": text}],
        }
        return {"metadata": {"name": text or "x", "uid": "n"}, "status": status}

    return make


@pytest.fixture
def poisoned_graph():
    def make(text):
        good = {"checkpoint": {"enabled": True, "checkpointRef": text or "x"}}
        services = {text: good, f"{text}2": {"checkpoint": {"enabled": True, "mode": text}}, f"{text}3": text}
        return {"metadata": {"name": text or "x", "namespace": text, "uid": "g"}, "spec": {"services": services}}

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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(text=hostile)
def test_tables_and_panes_take_any_text_for_text(poisoned, poisoned_node, poisoned_graph, pod_body, frozen_now, text):
    row, node = read_row(poisoned(text)), read_node(poisoned_node(text))
    pod = pod_body(text, startup=json.dumps({"result": text, "reason": text, "phases": {text: text}, "checkpoint": text}))
    pod["metadata"]["labels"] |= {names.LABEL_GRAPH: text, names.LABEL_COMPONENT: text}
    candidate = retention.Candidate(row.checkpoint, text, 1, (text,))
    entries = [
        *node_entries([node], frozen_now),
        *graph_entries([poisoned_graph(text)], [read_worker(pod)], frozen_now),
        *storage_entries(usage.report([row.checkpoint], {}, [node])),
        *plan_entries(retention.Plan((candidate,), (candidate,)), (), frozen_now),
        *finding_entries([Finding(text, text, text, text)]),
        *note_entries([Note(frozen_now, text, text)], frozen_now),
    ]
    assert len(entries) >= 9
    views = [entry.about(60) for entry in entries]
    views += [contents_view(row.checkpoint, frozen_now, 60), compat_view(row.checkpoint, [node], 60)]
    values = values_of(row.identity) if row.identity else {"model": text}
    views += [verdict_view(values | {"dtype": text, "maxModelLen": text}, row.identity, [row], 60)]
    for view in views:
        assert_safe(view.plain)
    for cell in (cell for entry in entries for cell in entry.cells):
        assert_safe(cell.text + "".join(cell.shorter))
        assert "\n" not in cell.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(text=st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12))
def test_no_plain_text_vanishes(frozen_now, text):
    """Brackets and dollars are what markup would swallow."""
    (entry,) = finding_entries([Finding(f"[{text}]", "fail", f"[{text}]", f"${text}")])
    shown = entry.about(200).plain
    cleaned = clean(text)
    assert f"[{cleaned}]" in shown
    assert f"${cleaned}" in shown
    assert entry.cells[2].text == f"[{cleaned}]"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=2)
@given(texts=st.lists(hostile, min_size=20, max_size=20))
def test_a_table_of_any_texts_is_drawn(poisoned, fake_source, make_app, settled, texts):
    async def look():
        source = fake_source([poisoned(text) | {"metadata": _metadata(number)} for number, text in enumerate(texts)])
        async with make_app(source).run_test(size=(200, 40)) as pilot:
            await settled(pilot)
            assert_drawn_safely(pilot.app)

    asyncio.run(look())


@pytest.fixture
def worst(poisoned, poisoned_node, poisoned_graph, fake_source, event_body, pod_body):
    """The same text everywhere."""
    pod = pod_body(WORST, startup=WORST, source=True, status={"phase": WORST, "containerStatuses": []})
    pod["metadata"]["labels"][names.LABEL_NAME] = WORST
    body = poisoned(WORST)
    body["metadata"]["namespace"] = WORST
    source = fake_source([body], pods=[pod], events=[event_body("e", WORST, WORST)], log=WORST, workers=[pod])
    source.nodes, source.graphs = [poisoned_node(WORST)], [poisoned_graph(WORST)]
    source.found = [Finding(WORST, "fail", WORST, WORST)]
    source.server = WORST
    return source


async def test_list_and_detail_survive_the_worst(worst, make_app, settled):
    """Every tab, question and note."""
    app = make_app(worst)
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(pilot)
        for key in KEYS:
            await pilot.press(key)
            await settled(pilot)
            assert_drawn_safely(app)


async def test_the_other_screens_survive_the_worst(worst, make_app, settled):
    app = make_app(worst)
    async with app.run_test(size=(100, 30)) as pilot:
        app.notify(WORST, markup=False)
        for command in COMMANDS:
            await app.action_command(command)
            await settled(pilot)
            await pilot.press("j")
            await settled(pilot)
            assert_drawn_safely(app)
            assert app.screen.query_one(VirtualTable).rows


def _metadata(number):
    return {"name": f"cp-{number}", "namespace": "default", "uid": f"uid-{number}"}


def assert_drawn_safely(app):
    assert app.is_running
    for strip in app.screen._compositor.render_strips(app.size):
        assert_safe(strip.text)

"""One checkpoint in all its aspects, live."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from textual import on
from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Footer, Input, TabbedContent, TabPane

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.api.node import read_node
from kubectl_chrek.cluster import Event
from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.plain import Plain, clean, tell
from kubectl_chrek.tui.screens import changing
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.session import Session
from kubectl_chrek.tui.source import Body
from kubectl_chrek.tui.views.artifact import contents_view
from kubectl_chrek.tui.views.compat import compat_view
from kubectl_chrek.tui.views.document import document_view
from kubectl_chrek.tui.views.events import events_view
from kubectl_chrek.tui.views.form import IDENTITY_FIELDS, values_of, verdict_view
from kubectl_chrek.tui.views.overview import artifact_view, conditions_view, identity_view, state_view
from kubectl_chrek.tui.views.pods import POD_COLUMNS, Pod, pod_cells, read_pod
from kubectl_chrek.tui.views.rows import Row
from kubectl_chrek.tui.views.status import one
from kubectl_chrek.tui.views.timeline import timeline_view
from kubectl_chrek.tui.widgets.banner import Banner
from kubectl_chrek.tui.widgets.form import Form
from kubectl_chrek.tui.widgets.table import VirtualTable
from kubectl_chrek.tui.widgets.text import Fitted, LogPane, Pane

POLL_SECONDS: Final = 3.0
_MOST_PODS: Final = 20
"""Events are asked for about so many pods at most."""


class DetailScreen(LiveScreen):
    """A checkpoint in nine tabs. Goes back by itself when the checkpoint is deleted."""

    DEFAULT_CSS = """
    DetailScreen {
        TabbedContent { height: 1fr; }
        ContentSwitcher, TabPane { height: 1fr; padding: 0; }
        Tab { padding: 0 1 0 0; }
        #overview-columns { height: auto; layout: vertical; }
        #overview-columns Fitted { width: 1fr; margin-bottom: 1; }
        &.-wide #overview-columns { layout: grid; grid-size: 2; grid-rows: auto; grid-gutter: 1 4; }
        &.-wide #overview-columns Fitted { margin-bottom: 0; }
        Form { margin-bottom: 1; }
        &.-wide Form { grid-size: 2; }
        #pod-why { height: auto; max-height: 4; padding: 0 1; color: $foreground 60%; }
    }
    """
    WHERES = (Where.DETAIL,)
    BINDINGS = [*bindings(Where.DETAIL)]

    def __init__(self, session: Session, row: Row, tab: str = "overview") -> None:
        super().__init__(session)
        self._row = row
        self._wanted = tab
        """The tab that was asked for last; a key may ask before there are any."""
        self._tabbed = False
        self._leaving = False
        self._polled: tuple[str, ...] = ()
        self._logging = False
        self._editing = False
        """The next tab to be shown is edited at once."""
        self._events: list[Body] | None = None
        self._events_lost = ""
        """Why there are no newer ones."""
        self._yaml_of: Mapping[str, Any] | None = None
        """The object whose YAML is shown: colouring it takes long enough to do it only once."""
        self._pods = session.feed(lambda: session.source.watch_pods(row.namespace, row.name), read_pod)
        self._agents = session.feed(self._watch_nodes, read_node)

    def crumbs(self) -> list[str]:
        """Where it is, and its name."""
        return [self._row.namespace, self._row.name]

    def compose(self) -> ComposeResult:
        """Banner, tabs, keys."""
        yield Banner()
        with TabbedContent(initial=self._wanted):
            with TabPane("1 Overview", id="overview"), Pane(), Container(id="overview-columns"):
                for part in ("state", "identity", "artifact", "conditions"):
                    yield Fitted(id=f"overview-{part}")
            with TabPane("2 Timeline", id="timeline"), Pane():
                yield Fitted(id="timeline-text")
            with TabPane("3 Pods", id="pods"):
                yield VirtualTable[Pod](POD_COLUMNS, lambda pod: pod.key, lambda pod: pod_cells(pod, self.session.now()))
                yield Plain(id="pod-why")
            with TabPane("4 Events", id="events"), Pane():
                yield Fitted("Loading ...", id="events-text")
            with TabPane("5 Logs", id="logs"):
                yield LogPane(id="log")
            with TabPane("6 YAML", id="yaml"), Pane():
                yield Plain(id="yaml-text")
            with TabPane("7 Hash", id="identity"), Pane(id="identity-pane"):
                pass
            with TabPane("8 Nodes", id="compat"), Pane():
                yield Fitted(id="compat-text")
            with TabPane("9 Artifact", id="artifact"), Pane():
                yield Fitted(id="artifact-text")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Starts following; that ends with the screen."""
        self.begin()

    def _watch_nodes(self) -> AsyncGenerator[Event, None]:
        return self.session.source.watch_nodes()

    def begin(self) -> None:
        """Pods and nodes."""
        self.work(self._pods.run, "pods")
        self.work(self._agents.run, "nodes")

    @property
    def _tab(self) -> str:
        return self.query_one(TabbedContent).active

    # -- drawing ---------------------------------------------------------------------------------------------

    def show_changes(self) -> None:
        """Draws the checkpoint as it is now, or says that it is gone and goes back."""
        feed = self.session.checkpoints
        row = feed.items.get(self._row.key)
        if row is None and feed.synced:
            self._gone()
            return
        self._row = row or self._row
        about = self._about()
        if about != self._polled:
            self._polled = about
            self._poll_tab()
        self.show_time()

    def show_time(self) -> None:
        """Draws the banner and the tab that is in view."""
        feed = self.session.checkpoints
        own = {"pods": self._pods.outage, "compat": self._agents.outage}.get(self._tab)
        self.show_banner(one(self._row), synced=feed.synced, outage=feed.outage or own)
        draw = {
            "overview": self._draw_overview,
            "timeline": self._draw_timeline,
            "pods": self._draw_pods,
            "events": self._draw_events,
            "yaml": self._draw_yaml,
            "identity": self._draw_verdict,
            "compat": self._draw_compat,
            "artifact": self._draw_contents,
        }
        draw.get(self._tab, lambda: None)()

    def _gone(self) -> None:
        if not self._leaving:
            self._leaving = True
            tell(self, f"{self._row.name} was deleted", severity="warning")
            self._leave()

    def _leave(self) -> None:
        # A poll that came back in the middle of the screen's removal would find no widget to write to.
        self.workers.cancel_node(self)
        self.dismiss()

    def _fit(self, part: str, view: Callable[[int], Content]) -> None:
        self.query_one(f"#{part}", Fitted).draw(view)

    def _draw_overview(self) -> None:
        row, now = self._row, self.session.now()
        self._fit("overview-state", lambda width: state_view(row, now, width))
        self._fit("overview-identity", lambda width: identity_view(row, width))
        self._fit("overview-artifact", lambda width: artifact_view(row, now, width))
        self._fit("overview-conditions", lambda width: conditions_view(row.checkpoint.status.conditions, now, width))

    def _draw_timeline(self) -> None:
        checkpoint = self._row.checkpoint
        nodes = {node.metadata.name: node.status.ceilings for node in self._agents.items.values()}
        self._fit("timeline-text", lambda width: timeline_view(checkpoint, nodes, width))

    def _draw_events(self) -> None:
        events, lost, now = self._events, self._events_lost, self.session.now()
        if events is not None or lost:
            self._fit("events-text", lambda width: events_view(events, now, width, lost=lost))

    def _draw_yaml(self) -> None:
        if self._yaml_of is not self._row.body:
            self._yaml_of = self._row.body
            self.query_one("#yaml-text", Plain).show(document_view(self._row.body))

    @on(Input.Changed)
    def _draw_verdict(self) -> None:
        if not self.query("#identity-verdict"):
            return
        values, rows = self.query_one(Form).values, [*self.session.checkpoints.items.values()]
        self._fit("identity-verdict", lambda width: verdict_view(values, self._row.identity, rows, width))

    def _draw_compat(self) -> None:
        checkpoint, nodes, feed = self._row.checkpoint, [*self._agents.items.values()], self._agents
        if not feed.synced:
            reason = Content(clean(feed.outage.reason if feed.outage else "Loading ..."))
            self._fit("compat-text", lambda _: reason)
        else:
            self._fit("compat-text", lambda width: compat_view(checkpoint, nodes, width))

    def _draw_contents(self) -> None:
        checkpoint, now = self._row.checkpoint, self.session.now()
        self._fit("artifact-text", lambda width: contents_view(checkpoint, now, width))

    def _draw_pods(self) -> None:
        pods = sorted(self._pods.items.values(), key=lambda pod: (not pod.source, pod.name))
        now = self.session.now()
        columns = zip(*([len(cell.text) for cell in pod_cells(pod, now)] for pod in pods), strict=True)
        empty = "No pods: none makes this checkpoint now, none has asked for it." if self._pods.synced else "Loading ..."
        self.query_one(VirtualTable).show_rows(
            pods,
            wanted=[*map(max, columns)] if pods else [0] * len(POD_COLUMNS),
            placeholder=self._pods.outage.reason if self._pods.outage else empty,
        )

    @on(VirtualTable.Moved)
    def _show_why(self) -> None:
        pod: Pod | None = self.query_one(VirtualTable).current
        lost = self._pods.outage.reason if self._pods.outage and self._pods.synced else ""
        self.query_one("#pod-why", Plain).show(lost or (f"{pod.name}: {pod.why}" if pod and pod.why else ""))

    # -- events and log, asked for while they are in view ----------------------------------------------------

    @on(TabbedContent.TabActivated)
    async def _tab_activated(self) -> None:
        if not self._tabbed:
            self._tabbed = True
            self.call_after_refresh(lambda: self.action_tab(self._wanted))
        if self._tab == "identity" and not self.query(Form):
            await self._mount_form()
        self._focus_tab()
        self._poll_tab()
        self.show_time()

    async def _mount_form(self) -> None:
        """Its many fields are made when they are wanted: every detail screen would open the slower for them."""
        values = values_of(self._row.identity) if self._row.identity else {}
        await self.query_one("#identity-pane").mount(Form(IDENTITY_FIELDS, values), Fitted(id="identity-verdict"))

    def _focus_tab(self) -> None:
        if self._editing:
            self._editing = False
            self.query_one(Form).edit()
            return
        pane = self.query_one(f"#{self._tab}", TabPane)
        target = next((widget for widget in pane.walk_children(Widget) if widget.focusable), None)
        if target is not None:
            target.focus()

    def _about(self) -> tuple[str, ...]:
        """The names of the objects that this checkpoint's events are about."""
        pods = sorted((pod.name for pod in self._pods.items.values()), reverse=True)[:_MOST_PODS]
        job = self._row.checkpoint.status.job_name
        return (self._row.name, *([job] if job else []), *pods)

    def _poll_tab(self) -> None:
        if self._tab == "events":
            self.work(partial(self._poll, self._read_events), "poll")
        else:
            self.workers.cancel_group(self, "poll")
        if self._tab == "logs" and not self._logging:
            self._logging = True
            self.work(self._follow_logs, "logs")

    async def _poll(self, read: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            await read()
            await self.session.pause(POLL_SECONDS)

    async def _read_events(self) -> None:
        try:
            events = await self.session.source.events(self._row.namespace, self._about())
        except ChrekError as error:
            self._events_lost = str(error)
        else:
            self._events, self._events_lost = events, ""
        self._draw_events()

    async def _follow_logs(self) -> None:
        """Shows lines as they come; once begun it goes on to the end of the screen, and begins anew when the stream breaks."""
        log = self.query_one(LogPane)
        log.say("No log yet: no container of this checkpoint has begun to run.")
        while True:
            reason = "the log ended"
            try:
                async with aclosing(self.session.source.follow_logs(self._row.namespace, self._row.name)) as lines:
                    async for line in lines:
                        log.add(f"{line.source.prefix} {line.text}")
            except ChrekError as error:
                reason = str(error)
            log.break_off(reason)
            await self.session.pause(POLL_SECONDS)

    # -- keys ------------------------------------------------------------------------------------------------

    def action_tab(self, tab: str) -> None:
        """Shows a tab."""
        self._wanted = tab
        if self._tabbed:
            self.query_one(TabbedContent).active = tab

    def action_back(self) -> None:
        """Out of the help or a field, or back to where one came from."""
        if self.close_help():
            return
        if isinstance(self.focused, Input):
            self._focus_tab()
        else:
            self._leave()

    def action_edit(self) -> None:
        """Goes to the fields of the identity."""
        self._editing = True
        if self._tab == "identity":
            self._focus_tab()
        else:
            self.action_tab("identity")

    def action_copy_name(self) -> None:
        """Copies the name."""
        self.app.copy_to_clipboard(clean(self._row.name))
        tell(self, f"Copied {self._row.name}")

    async def action_delete(self) -> None:
        """Deletes the checkpoint after asking."""
        await changing.ask_and_delete(self, [self._row])

    def action_undelete(self) -> None:
        """Keeps it, if it was marked for deletion."""
        self.work(partial(changing.undelete, self, self.session, [self._row]), "ask")

    def action_pin(self) -> None:
        """Pins or unpins it."""
        self.work(partial(changing.pin, self, self.session, [self._row]), "ask")

    def action_verify(self) -> None:
        """Has its artifact read back."""
        self.work(partial(changing.verify, self, self.session, [self._row]), "ask")

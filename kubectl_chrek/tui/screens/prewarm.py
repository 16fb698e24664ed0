"""The form that makes a checkpoint: it says at each letter what the hash is, whether there is one already, and what is off."""

import shlex

from textual import on
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Footer, Input

from kubectl_chrek.api.errors import ChrekError, UsageError
from kubectl_chrek.api.identity import Identity
from kubectl_chrek.ops.prewarm import Wanted, template_from_command, wanted_from_identity
from kubectl_chrek.tui.actions import Where, bindings
from kubectl_chrek.tui.plain import span, tell
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.session import Session
from kubectl_chrek.tui.views.form import IDENTITY_FIELDS, WORKER_FIELDS, Field, read_values, values_of, verdict_view
from kubectl_chrek.tui.widgets.banner import Banner
from kubectl_chrek.tui.widgets.form import Form
from kubectl_chrek.tui.widgets.text import Fitted, Pane


class PrewarmScreen(LiveScreen):
    """Identity, worker and namespace; ctrl+j creates."""

    DEFAULT_CSS = """
    PrewarmScreen {
        #prewarm-form { padding: 1 1; }
        #prewarm-verdict { height: 1fr; border-top: solid $panel; }
        &.-wide Form { grid-size: 2; }
    }
    """
    WHERES = (Where.FORM,)
    BINDINGS = [*bindings(Where.FORM)]
    AUTO_FOCUS = "Input"

    def __init__(self, session: Session, identity: Identity | None = None) -> None:
        super().__init__(session)
        self._first = values_of(identity) if identity else {}

    def crumbs(self) -> list[str]:
        """Its name."""
        return ["prewarm"]

    def compose(self) -> ComposeResult:
        """The fields above what they come to."""
        namespace = self.session.namespace or self.session.source.home
        yield Banner()
        yield Form(
            (*IDENTITY_FIELDS, *WORKER_FIELDS, Field("namespace", "Namespace")),
            {**self._first, "namespace": namespace},
            id="prewarm-form",
        )
        yield Pane(Fitted(id="prewarm-text"), id="prewarm-verdict")
        yield Footer(show_command_palette=False)

    def show_changes(self) -> None:
        """What the fields come to, and whether it is there."""
        feed = self.session.checkpoints
        rows = [*feed.items.values()]

        def view(width: int) -> Content:
            values = self._values()
            shown = verdict_view(values, None, rows, width)
            try:
                read_values(values)
            except UsageError:
                return shown
            try:
                self._wanted()
            except UsageError as error:
                return Content("\n").join([shown, Content.assemble(span(error, "$text-warning"))])
            return Content("\n").join([shown, Content.assemble(span("ctrl+j creates it", "bold $text-success"))])

        self.query_one("#prewarm-text", Fitted).draw(view)
        self.show_banner(Content(""), synced=feed.synced, outage=feed.outage)

    def show_time(self) -> None:
        """Nothing here ages but an outage."""
        self.show_changes()

    @on(Input.Changed)
    def _changed(self) -> None:
        self.session.changed()

    def _values(self) -> dict[str, str]:
        return self.query_one(Form).values

    def _wanted(self) -> Wanted:
        """What the form asks for.

        Raises:
            UsageError: Something is off or missing.
        """
        values = self._values()
        identity = read_values(values)
        image, command, gpus = (values[name].strip() for name in ("image", "command", "gpus"))
        if not (image and command):
            raise UsageError("say how the worker starts: image and command")
        if gpus and not (gpus.isascii() and gpus.isdigit()):
            raise UsageError(f"GPUs: expected a whole number, got {gpus!r}")
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"Command: {error}") from error
        return wanted_from_identity(identity, template_from_command(image, words, gpus=int(gpus or 0)))

    def action_submit(self) -> None:
        """Creates it, or finds the one that is there."""
        self.work(self._submit, "ask")

    async def _submit(self) -> None:
        try:
            done = await self.session.source.prewarm(self._wanted(), self._values()["namespace"].strip())
        except ChrekError as error:
            tell(self, f"{error}{f': {error.hint}' if error.hint else ''}", severity="error")
            return
        tell(self, f"{done.name} {'is there already' if done.verb == 'unchanged' else 'is being made'}")
        self.dismiss()

    def action_back(self) -> None:
        """Leaves without making anything."""
        if not self.close_help():
            self.dismiss()

"""What changes checkpoints, from the list and from the detail screen alike: each is what a command of that name does."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from textual.screen import Screen

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.ops.formatting import human_bytes, human_duration, plural
from kubectl_chrek.ops.retention import Candidate, freed_bytes
from kubectl_chrek.tui.plain import tell
from kubectl_chrek.tui.screens.live import LiveScreen
from kubectl_chrek.tui.screens.modals import Answer, ConfirmDelete
from kubectl_chrek.tui.session import Session
from kubectl_chrek.tui.views.rows import Row

GRACE: Final = timedelta(hours=1)
"""How long what is marked for deletion can be had back."""


async def each(screen: Screen[None], rows: Sequence[Row], act: Callable[[Row], Awaitable[object]]) -> list[Row]:
    """Does the same to all; one that fails is told and does not stop the next. Returns those that did not fail."""
    done = []
    for row in rows:
        try:
            await act(row)
        except ChrekError as error:
            tell(screen, error, severity="error")
        else:
            done.append(row)
    return done


def said(rows: Sequence[Row]) -> str:
    """The rows as a sentence begins: a name, or how many."""
    return f"{rows[0].name} is" if len(rows) == 1 else f"{plural(len(rows), 'checkpoint')} are"


async def ask_and_delete(screen: LiveScreen, rows: Sequence[Row], agreed: Callable[[], None] = lambda: None) -> None:
    """Asks, then deletes or marks these very objects, whatever has taken their names since; `agreed` is told that it begins."""
    names = [f"{row.namespace}/{row.name}" for row in rows]
    size = human_bytes(sum(freed_bytes(row.checkpoint) for row in rows))
    word = rows[0].name if len(rows) == 1 else str(len(rows))

    def answered(answer: Answer | None) -> None:
        if answer in (Answer.NOW, Answer.LATER):
            agreed()
            screen.work(partial(_delete, screen, screen.session, rows, answer), "ask")

    await screen.ask(ConfirmDelete(names, size, GRACE, word), answered)


async def _delete(screen: LiveScreen, session: Session, rows: Sequence[Row], answer: Answer) -> None:
    if answer is Answer.NOW:
        done = await each(screen, rows, lambda row: session.source.delete(row.namespace, row.name, row.key))
        if done:
            tell(screen, f"{said(done)} being deleted")
    else:
        due = session.now() + GRACE
        done = await each(
            screen, rows, lambda row: session.source.mark(Candidate(row.checkpoint, "by hand", freed_bytes(row.checkpoint)), due)
        )
        if done:
            tell(screen, f"{said(done)} deleted in {human_duration(GRACE.total_seconds())}; u undeletes")


async def undelete(screen: Screen[None], session: Session, rows: Sequence[Row]) -> None:
    """Takes the marks off."""
    kept: list[Row] = []

    async def act(row: Row) -> None:
        if await session.source.undelete(row.checkpoint):
            kept.append(row)

    done = await each(screen, rows, act)
    if kept:
        tell(screen, f"{said(kept)} kept")
    elif done:
        tell(screen, f"{said(done)} not marked for deletion", severity="warning")


async def pin(screen: Screen[None], session: Session, rows: Sequence[Row]) -> None:
    """Pins them; when all are pinned, unpins them."""
    source = session.source
    if all(row.checkpoint.pinned for row in rows):
        done = await each(screen, rows, lambda row: source.unpin(row.checkpoint))
        word = "not pinned any more"
    else:
        done = await each(screen, rows, lambda row: source.pin(row.checkpoint, session.now()))
        word = "pinned"
    if done:
        tell(screen, f"{said(done)} {word}")


async def verify(screen: Screen[None], session: Session, rows: Sequence[Row]) -> None:
    """Asks for their artifacts to be read back; the answers come with the watch."""
    nonce = f"{session.now():%Y%m%dT%H%M%S.%f}"
    done = await each(screen, rows, lambda row: session.source.verify(row.checkpoint, nonce))
    if done:
        tell(screen, f"{said(done)} being verified")

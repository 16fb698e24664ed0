"""Deleting checkpoints, from the list and from the detail screen alike."""

from collections.abc import Sequence

from textual.screen import Screen

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.ops.formatting import human_bytes
from kubectl_chrek.tui.plain import tell
from kubectl_chrek.tui.screens.modals import ConfirmDelete
from kubectl_chrek.tui.session import Session
from kubectl_chrek.tui.views.rows import Row


async def confirm_and_delete(screen: Screen[None], session: Session, rows: Sequence[Row]) -> bool:
    """Asks, then deletes these very objects, whatever has taken their names since; to be run in a worker.

    Returns:
        Whether the user said yes.
    """
    size = sum(row.checkpoint.status.artifact.bytes for row in rows if row.checkpoint.status.artifact)
    names = [f"{row.namespace}/{row.name}" for row in rows]
    if not await screen.app.push_screen_wait(ConfirmDelete(names, human_bytes(size))):
        return False
    deleted = 0
    for row in rows:
        try:
            await session.source.delete(row.namespace, row.name, row.key)
        except ChrekError as error:
            tell(screen, error, severity="error")
        else:
            deleted += 1
    if deleted:
        tell(screen, f"{rows[0].name} is being deleted" if len(rows) == 1 else f"{deleted} checkpoints are being deleted")
    return True

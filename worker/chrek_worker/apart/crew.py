"""Threads that work pieces off, each with lanes of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from chrek_worker.apart.region import Piece

Take = Callable[[], "Piece | None"]
"""The next piece; None when there is none, or when another thread has failed."""


def work_off(pieces: Iterator[Piece], work: Callable[[Take], None], threads: int) -> None:
    """Calls `work` in so many threads and waits for them; the first error ends all of it and is raised."""
    turn = threading.Lock()
    errors: list[BaseException] = []

    def take() -> Piece | None:
        with turn:
            return None if errors else next(pieces, None)

    def run() -> None:
        try:
            work(take)
        except BaseException as error:
            errors.append(error)

    crew = [threading.Thread(target=run, name="chrek-apart", daemon=True) for _ in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if errors:
        raise errors[0]

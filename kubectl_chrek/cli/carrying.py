"""Progress of bytes between a file and an agent."""

import time
from dataclasses import dataclass, field

from kubectl_chrek.cli.diagnostics import ProgressLine
from kubectl_chrek.ops.formatting import human_bytes

EVERY_SECONDS = 0.2


@dataclass(slots=True)
class Meter:
    """Shows how far it is and how fast that was; `step` is what is being done."""

    step: str
    line: ProgressLine = field(default_factory=ProgressLine)
    _begun: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _first: int = -1

    def update(self, done: int, total: int = 0) -> None:
        """Bytes done, and in all if that is known."""
        now = time.monotonic()
        if self._first < 0:
            self._first = done
        if now - self._shown < EVERY_SECONDS:
            return
        self._shown = now
        share = f" of {human_bytes(total)} ({done / total:.0%})" if total else ""
        rate = (done - self._first) / max(now - self._begun, 1e-6)
        self.line.update(self.step, f"{human_bytes(done)}{share}, {rate / 1e6:.1f} MB/s")

    def close(self) -> None:
        """Ends the line."""
        self.line.close()

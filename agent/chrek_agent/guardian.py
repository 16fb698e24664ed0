"""`python -m chrek_agent.guardian JOURNAL`: outlives an agent that is killed, and undoes at once what it left half done.

It waits on its standard input, which only the agent holds the other end of: end of file means that the agent is gone.
"""

import os
import sys
import time
from pathlib import Path
from typing import Final

from chrek_agent.journal import recover

SECONDS: Final = 10.0


def main() -> None:
    """Waits for the agent's end, then recovers."""
    while os.read(0, 4096):
        pass
    journal = Path(sys.argv[1])
    deadline = time.monotonic() + SECONDS
    recover(journal)
    # A process that is killed closes its files before it is gone; until then its entries look like a living agent's.
    while any(journal.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
        recover(journal)


if __name__ == "__main__":
    main()

"""`python -m chrek_agent.guardian JOURNAL`: outlives an agent that is killed, and undoes at once what it left half done.

It waits on its standard input, which only the agent holds the other end of: end of file means that the agent is gone.
"""

import os
import sys
from pathlib import Path

from chrek_agent.journal import recover


def main() -> None:
    """Waits for the agent's end, then recovers."""
    while os.read(0, 4096):
        pass
    recover(Path(sys.argv[1]))


if __name__ == "__main__":
    main()

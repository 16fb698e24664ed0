"""`python -m chrek_agent`."""

import sys

from chrek_agent.main import main

sys.exit(main())

"""`python3 chrek_worker.pyz -- COMMAND ARGS...`: the worker's command as the operator writes it into a pod."""

import sys

from chrek_worker.shim import main

sys.exit(main(sys.argv[1:]))

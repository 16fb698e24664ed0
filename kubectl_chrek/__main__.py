"""`python -m kubectl_chrek` is `kubectl chrek`."""

from kubectl_chrek.cli.main import main

main()

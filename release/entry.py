"""What the frozen program runs."""

from kubectl_chrek.cli.main import main

main()

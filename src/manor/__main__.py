"""`python -m manor` is `manor`."""

from manor.cli.main import main

main()

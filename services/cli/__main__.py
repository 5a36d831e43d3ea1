"""`python -m services.cli` is `creditwell`."""

from services.cli import main

main()

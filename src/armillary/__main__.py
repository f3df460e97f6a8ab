"""`python -m armillary`, which torchrun needs."""

from armillary.cli import main

main()

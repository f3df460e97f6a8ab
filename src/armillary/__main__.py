"""`python -m armillary`, which torchrun needs."""

import sys

from armillary.cli import main

sys.exit(main())

"""`python -m gradwire_server` is `gradwire serve`."""

from __future__ import annotations

import sys

from gradwire_server.cli import main

sys.exit(main())

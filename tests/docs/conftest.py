"""Lets the tests of the docs import the modules beside them, which are scripts too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

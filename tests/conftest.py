"""The same examples in every run of the gate; `pytest --hypothesis-profile=default` looks for new ones.

Tests import the benchmarks and the tools as modules.
"""

import sys
from pathlib import Path

from hypothesis import settings

settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")
sys.path[:0] = [str(Path(__file__).parent.parent / folder) for folder in ("benchmarks", "tools")]

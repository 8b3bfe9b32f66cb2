"""Write all fakes below a folder, to look at them: `python -m fakes OUT`."""

import sys
from pathlib import Path

import fakes

fakes.everything(Path(sys.argv[1]))

"""Found as `lib` by notebooks whose kernel starts in this folder, as most editors start it; the pipeline's start above.

Paths in notebooks begin at the root of the repository: the kernel goes there, and `lib` becomes the package there.
"""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
os.chdir(ROOT)
sys.path.insert(0, str(ROOT))
del sys.modules["lib"]
importlib.import_module("lib")

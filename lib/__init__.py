"""The study's library: one concept a module, read from top to bottom in the README's diagram."""

import os

# After each operation torch's threads look for the next one without a pause, by libgomp's default for several
# milliseconds: on the cores that the kernels of `lib.rendering.kernels.threads` want meanwhile. With 1,000 to 20,000
# looks a step of stage 2 takes the same. Read when torch is loaded, here or by the processes that this one starts.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

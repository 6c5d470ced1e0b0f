"""How classifiers are made. Run from a checkout; not part of the installed library."""

import os

# OpenMP threads that spin while they wait stall each other on a busy machine: tenfold slower was measured.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

"""How fast this project is beside Hugging Face transformers on PyTorch; see docs/benchmarks.md.

python -m benchmarks                  all workloads, one table each
python -m benchmarks.sampling         one alone (or .scoring, .training, .sandbox, .logic)
"""

import sys
from importlib.util import find_spec

_WITHOUT_A_PEER = {"benchmarks.growth", "benchmarks.plans", "benchmarks.prompt_lookup"}

# Python is about to run one of the others, whose first lines import it.
if sys.argv[0] == "-m" and _WITHOUT_A_PEER.isdisjoint(sys.orig_argv) and find_spec("torch") is None:
    sys.exit("error: the benchmarks' peer is PyTorch, which is not installed; make setup-dev installs it")

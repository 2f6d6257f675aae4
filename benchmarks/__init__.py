"""How fast this project is beside Hugging Face transformers on PyTorch; see docs/benchmarks.md.

python -m benchmarks                  all workloads, one table each
python -m benchmarks.sampling         one alone (or .scoring, .training, .sandbox, .logic)
"""

import sys
from importlib.util import find_spec

if sys.argv[0] == "-m" and find_spec("torch") is None:  # Python is about to run one, which imports it
    sys.exit("error: the benchmarks' peer is PyTorch, which is not installed; make setup-dev installs it")

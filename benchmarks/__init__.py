"""How fast this project is beside Hugging Face transformers on PyTorch; see docs/benchmarks.md.

python -m benchmarks                  all workloads, one table each
python -m benchmarks.sampling         one alone (or .scoring, .training, .sandbox, .logic)
"""

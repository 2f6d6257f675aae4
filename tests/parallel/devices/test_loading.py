"""Reading a model of LLaMA-2-7B's shape, cut to two layers, into the parts of eight devices."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from envisions_jax import Policy
from envisions_jax.models.known import SHAPES
from envisions_jax.models.llama import abstract
from envisions_jax.models.weights import slots
from envisions_jax.parallel import make_mesh

CONFIG = dataclasses.replace(SHAPES["meta-llama/Llama-2-7b-hf"], num_layers=2)
LARGEST = 600 * 2**20  # of a file

MEASURE = """
import json, psutil, resource, sys
import jax, numpy as np
from envisions_jax.models.loading import load_pretrained
from envisions_jax.parallel import make_mesh

mesh = make_mesh()
before = psutil.Process().memory_info().rss
loaded = load_pretrained(sys.argv[1], dtype=np.float32, param_dtype=np.float32, mesh=mesh)
jax.block_until_ready(loaded.params)
leaves = jax.tree.leaves(loaded.params)
parts = {shard.data.size / leaf.size for leaf in leaves for shard in leaf.addressable_shards}
grown = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
share = sum(leaf.nbytes for leaf in leaves)
print(json.dumps({"grown": grown, "share": share, "parts": list(parts)}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of random bfloat16 weights, some tensors each."""
    folder = tmp_path_factory.mktemp("llama")
    random, weight_map = np.random.default_rng(0), {}
    for number, tensors in enumerate(_files()):
        name = f"model-{number:05d}.safetensors"
        arrays = {
            tensor: random.integers(0x3C00, 0x3D00, shape, np.uint16).view(ml_dtypes.bfloat16)
            for tensor, shape in tensors.items()
        }
        save_file(arrays, folder / name)
        weight_map |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(CONFIG.to_hf()))
    return folder


def _files() -> Iterator[dict[str, tuple[int, ...]]]:
    """Names and shapes, in Hugging Face's layout, of what one file holds."""
    held: dict[str, tuple[int, ...]] = {}
    for place, variable in slots(abstract(CONFIG)[1]):
        shape = variable.shape[::-1] if place.transposed else variable.shape
        if 2 * sum(map(np.prod, (*held.values(), shape))) > LARGEST:
            yield held
            held = {}
        held[place.name] = shape
    yield held


def test_memory_peaks_at_the_weights_and_little_more_than_a_file(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    largest = max(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert len(list(folder.glob("*.safetensors"))) >= 3
    assert measured["parts"] == [1 / 8]
    print(measured | {"largest": largest})
    assert measured["grown"] <= 1.2 * largest + measured["share"]
    assert measured["grown"] > 0.9 * measured["share"]  # else nothing was measured


def test_each_part_is_what_the_file_says(folder: Path) -> None:
    whole = Policy.from_pretrained(folder, param_dtype="bfloat16")
    parts = Policy.from_pretrained(folder, param_dtype="bfloat16", mesh=make_mesh())
    for one, other in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True):
        assert np.array_equal(np.asarray(one).view(np.uint8), np.asarray(other).view(np.uint8))

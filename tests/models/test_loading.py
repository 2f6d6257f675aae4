"""Hugging Face folders: sharded, PyTorch's, incomplete, damaged; and names that lead nowhere."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from envisions_jax import Policy, testing
from envisions_jax.models.config import ModelError
from envisions_jax.models.saving import save_pretrained


@pytest.fixture
def folder(tmp_path: Path, tiny_policy: Policy) -> Path:
    """A fresh copy of the tiny model, to be damaged."""
    tiny_policy.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def same_weights(a: Policy, b: Policy) -> bool:
    return jax.tree.all(
        jax.tree.map(lambda x, y: bool((x == y).all()) and x.dtype == y.dtype, a.params, b.params)
    )


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def edit_weights(folder: Path, changes: dict[str, np.ndarray | None]) -> None:
    weights = load_file(folder / "model.safetensors") | changes
    kept = {name: array for name, array in weights.items() if array is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def test_round_trip_is_bit_exact(folder: Path, tiny_policy: Policy) -> None:
    loaded = Policy.from_pretrained(folder)
    assert same_weights(loaded, tiny_policy)
    assert loaded.config == tiny_policy.config and loaded.graphdef == tiny_policy.graphdef
    loaded.save_pretrained(folder.parent / "again")
    for file in folder.iterdir():
        assert file.read_bytes() == (folder.parent / "again" / file.name).read_bytes(), file.name


def test_bfloat16_weights_round_trip(folder: Path) -> None:
    half = Policy.from_pretrained(folder, param_dtype="bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half.params)} == {"bfloat16"}
    half.save_pretrained(folder.parent / "half")
    assert same_weights(Policy.from_pretrained(folder.parent / "half", param_dtype="bfloat16"), half)
    assert json.loads((folder.parent / "half" / "config.json").read_text())["dtype"] == "bfloat16"


def test_sharded_folders(tmp_path: Path, tiny_policy: Policy) -> None:
    import transformers

    save_pretrained(tmp_path / "m", tiny_policy.config, tiny_policy.params, None, shard_bytes=20_000)
    shards = sorted(path.name for path in (tmp_path / "m").glob("*.safetensors"))
    assert len(shards) > 2 and shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert same_weights(Policy.from_pretrained(tmp_path / "m"), tiny_policy)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    embedding = theirs.state_dict()["model.embed_tokens.weight"].numpy()
    assert np.array_equal(embedding, np.asarray(tiny_policy.model.embedding[...]))
    (tmp_path / "m" / shards[1]).unlink()
    with pytest.raises(ModelError, match=f"{shards[1]}, which is missing"):
        Policy.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pytorch_files_hold_tensors(folder: Path, tiny_policy: Policy, dtype: torch.dtype) -> None:
    weights = {
        name: torch.from_numpy(a).to(dtype) for name, a in load_file(folder / "model.safetensors").items()
    }
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    loaded = Policy.from_pretrained(folder)
    if dtype == torch.float32:
        assert same_weights(loaded, tiny_policy)
    assert np.allclose(loaded.model.head, tiny_policy.model.head, atol=0.01)


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this ran",))


def test_a_pytorch_file_that_runs_code_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.safetensors").unlink()
    for save in (
        lambda path: torch.save({"x": _Runs()}, path),
        lambda path: path.write_bytes(pickle.dumps(_Runs())),
    ):
        save(folder / "pytorch_model.bin")
        with pytest.raises(ModelError, match="cannot be read safely"):
            Policy.from_pretrained(folder)
    assert "this ran" not in capsys.readouterr().out


def test_a_folder_without_tokenizer_serves_tokens(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    policy = Policy.from_pretrained(folder)
    assert policy.tokenizer is None and policy.eos_ids == (2,)
    assert policy.logits(np.array([[5, 6]])).shape == (1, 2, policy.config.vocab_size)
    with pytest.raises(ModelError, match="no tokenizer"):
        policy.score(["text"], [["text"]])


def test_end_of_sequence_ids_of_the_generation_config_count(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 9]}))
    assert Policy.from_pretrained(folder).eos_ids == (2, 9)


def test_unneeded_tensors_of_old_checkpoints_are_passed_over(folder: Path, tiny_policy: Policy) -> None:
    edit_weights(folder, {"model.layers.0.self_attn.rotary_emb.inv_freq": np.zeros(4, np.float32)})
    assert same_weights(Policy.from_pretrained(folder), tiny_policy)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("model.norm.weight", None, "1 of .* tensors are missing .model.norm.weight"),
        ("lm_head.weight", None, "lm_head.weight"),
        (
            "model.norm.weight",
            np.ones(31, np.float32),
            r"model.norm.weight' has shape \(31,\).*asks for \(32,\)",
        ),
        (
            "model.layers.0.mlp.up_proj.weight",
            np.ones((32, 48), np.float32),
            r"shape \(32, 48\).*asks for \(48, 32\)",
        ),
        ("model.layers.0.lora_A.weight", np.ones(3, np.float32), "unexpected tensor.*lora_A"),
    ],
)
def test_wrong_weights_are_named(folder: Path, name: str, array: np.ndarray | None, message: str) -> None:
    edit_weights(folder, {name: array})
    with pytest.raises(ModelError, match=message):
        Policy.from_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 4, 1000, -10])
def test_damaged_weights_are_named(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or cut short"):
        Policy.from_pretrained(folder)


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder: Path) -> None:
    small = testing.tiny_policy(vocab_size=100)
    save_pretrained(folder.parent / "small", small.config, small.params, None)
    shutil.copy(folder / "tokenizer.json", folder.parent / "small")
    with pytest.raises(ModelError, match=f"{testing.VOCAB_SIZE} tokens.*only 100"):
        Policy.from_pretrained(folder.parent / "small")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_damaged_text_files_are_named(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(ModelError, match=file):
        Policy.from_pretrained(folder)


def test_missing_parts_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        Policy.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        Policy.from_pretrained(folder)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./missing", "smollm3", "a/b/c", ""])
def test_a_name_that_leads_nowhere(name: str) -> None:
    with pytest.raises(ModelError, match=r"no model at|has no config"):
        Policy.from_pretrained(name)


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("x")
    with pytest.raises(ModelError, match=r"not a \.gguf"):
        Policy.from_pretrained(tmp_path / "weights.pt")


def test_a_hub_id_without_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*args: object, **options: object) -> str:
        raise LocalEntryNotFoundError("cannot find the requested files")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(ModelError, match=r"'owner/model' from the Hugging Face hub.*network"):
        Policy.from_pretrained("owner/model")


def test_a_hub_id_is_read_from_where_the_hub_client_puts_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tiny_policy: Policy
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, allow_patterns: str(folder))
    assert same_weights(Policy.from_pretrained("owner/model"), tiny_policy)

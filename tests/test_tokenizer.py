"""Text to tokens and back: GGUF's, SentencePiece's and Hugging Face's tokenizers."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path

import pytest
import sentencepiece
import transformers

from envisions_jax import Policy, testing
from envisions_jax.models.config import ModelError
from envisions_jax.tokenizer import Tokenizer, load_tokenizer

TEXTS = [
    "Hello world",
    "Hello  world",
    "  two spaces",
    " one",
    "def solution():\n    return  12 + 3\n",
    "a\tb\r\n\r\n   c",
    "你好 🙂 naïve café",
    "x  5\n\n\n    y",
    "",
    " ",
    "trailing ",
    "1234567.89",
    "don't we'll I'M",
]


def random_texts(count: int) -> list[str]:
    pick = random.Random(0)
    parts = ["  ", " ", "a", "b", "1", "\n", "\t", "é", "你", "🙂", "the ", "   ", "=", "return", "42"]
    return ["".join(pick.choices(parts, k=pick.randint(1, 50))) for _ in range(count)]


@pytest.fixture(scope="session")
def llama2_folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but LLaMA-2's ``tokenizer.model``."""
    folder = tmp_path_factory.mktemp("llama2")
    shutil.copy(shared_data / "llama2_tokenizer.model", folder / "tokenizer.model")
    return folder


@pytest.fixture(scope="session")
def llama2(llama2_folder: Path) -> Tokenizer:
    tokenizer = load_tokenizer(llama2_folder)
    assert tokenizer is not None
    return tokenizer


@pytest.fixture(scope="session")
def llama2_saved(llama2: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What we write of it: ``tokenizer.json`` as well."""
    folder = tmp_path_factory.mktemp("llama2-saved")
    llama2.save(folder)
    return folder


@pytest.fixture(scope="session")
def smol(smollm2: Policy) -> Tokenizer:
    assert smollm2.tokenizer is not None
    return smollm2.tokenizer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("x  5", ["x", "  ", "5"]),
        ("[\n    1,", ["[", "\n    ", "1", ","]),
        ("12 345", ["1", "2", " ", "3", "4", "5"]),
        ("a   b", ["a", "  ", " b"]),
        ("\n    return", ["\n   ", " return"]),
        ("<|im_start|>user\n", ["", "user", "\n"]),
    ],
)
def test_smollm2_cuts_as_the_original(smol: Tokenizer, text: str, pieces: list[str]) -> None:
    assert [smol.token_bytes(token).decode() for token in smol.encode(text)] == pieces


@pytest.mark.slow
def test_smollm2_marks_are_special_and_no_bos_is_added(smol: Tokenizer) -> None:
    assert (smol.bos_id, smol.eos_id, smol.pad_id, smol.vocab_size) == (1, 2, 2, 49152)
    assert smol.special_ids == set(range(17))
    assert smol.encode("<|im_start|><|im_end|><|endoftext|>") == [1, 2, 0]
    assert smol.decode([1, *smol.encode("hi"), 2]) == "hi"


@pytest.mark.slow
def test_smollm2_loses_nothing(smol: Tokenizer) -> None:
    for text in TEXTS + random_texts(200):
        assert smol.decode(smol.encode(text)) == text
        assert smol.encode_completion(text) == smol.encode(text)


def test_llama2_agrees_with_sentencepiece(llama2: Tokenizer, llama2_folder: Path, shared_data: Path) -> None:
    original = sentencepiece.SentencePieceProcessor(str(llama2_folder / "tokenizer.model"))
    with gzip.open(shared_data / "math_train_300.jsonl.gz", "rt", encoding="utf-8") as rows:
        questions = [json.loads(row)["question"] for row in rows]
    for text in TEXTS + random_texts(200) + questions[:100]:
        assert llama2.encode(text) == [1, *original.encode(text)]
    assert (llama2.bos_id, llama2.eos_id) == (1, 2) and llama2.special_ids == {0, 1, 2}


def test_llama2_completions_have_no_dummy_space(llama2: Tokenizer) -> None:
    assert llama2.encode("return 1", bos=False)[0] == llama2.encode_completion(" return 1")[0]
    for text in TEXTS + random_texts(200):
        tokens = llama2.encode_completion(text)
        assert b"".join(map(llama2.token_bytes, tokens)).decode() == text == llama2.decode(tokens)
        assert llama2.decode(llama2.encode(text)) == text  # BOS marks a whole prompt


def test_bytes_of_sentencepiece_tokens(llama2: Tokenizer) -> None:
    assert llama2.token_bytes(1) == llama2.token_bytes(0) == b""
    assert llama2.token_bytes(3) == b"\x00" and llama2.token_bytes(258) == b"\xff"
    assert llama2.token_bytes(29871) == b" " and llama2.token_bytes(3186) == b" world"
    assert llama2.token_bytes(32000) == llama2.token_bytes(-1) == b""


def test_what_we_save_of_llama2_is_the_same_everywhere(llama2: Tokenizer, llama2_saved: Path) -> None:
    ours = load_tokenizer(llama2_saved)
    theirs = transformers.AutoTokenizer.from_pretrained(llama2_saved)
    assert ours is not None and (ours.bos_id, ours.eos_id, ours.add_bos) == (1, 2, True)
    runs = [f"x{' ' * n}y\n{' ' * n}1" for n in range(1, 40)]
    for text in TEXTS + random_texts(200) + runs:
        expected = llama2.encode(text)
        assert ours.encode(text) == expected
        assert theirs(text).input_ids == expected
        assert ours.encode_completion(text) == llama2.encode_completion(text)
    assert [ours.token_bytes(i) for i in range(32000)] == [llama2.token_bytes(i) for i in range(32000)]
    assert theirs.eos_token_id == 2 and theirs.decode(theirs("Hello  world").input_ids[1:]) == "Hello  world"


def test_tiny_tokenizer_round_trip_and_transformers(tmp_path: Path) -> None:
    tokenizer = testing.tiny_tokenizer()
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert again is not None
    for text in TEXTS + random_texts(100):
        assert tokenizer.encode(text) == again.encode(text) == theirs(text).input_ids
        assert tokenizer.decode(tokenizer.encode_completion(text)) == text
    assert (again.bos_id, again.eos_id, again.pad_id, again.add_bos) == (1, 2, 0, True)


def test_a_token_may_be_half_a_character() -> None:
    tokenizer = testing.tiny_tokenizer()
    tokens = tokenizer.encode_completion("é")
    assert [tokenizer.token_bytes(token) for token in tokens] == [b"\xc3", b"\xa9"]
    assert tokenizer.decode(tokens[:1]) == "\ufffd" and tokenizer.decode(tokens) == "é"


def test_chat_templates_render_and_refuse(tmp_path: Path) -> None:
    tokenizer = testing.tiny_tokenizer()
    with pytest.raises(ModelError, match="no chat template"):
        tokenizer.apply_chat([{"role": "user", "content": "x"}])
    tokenizer.save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    chat = load_tokenizer(tmp_path)
    assert chat is not None
    assert chat.apply_chat([{"role": "user", "content": "x"}]) == "<s>[x]>"
    assert chat.encode("<s>[x]>", bos=False)[0] == chat.bos_id
    with pytest.raises(ModelError, match="no system"):
        chat.apply_chat([{"role": "system", "content": "x"}])


def test_a_template_reaches_nothing_of_the_host(tmp_path: Path) -> None:
    from jinja2.exceptions import SecurityError

    testing.tiny_tokenizer().save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages.__class__.__mro__ }}")
    chat = load_tokenizer(tmp_path)
    assert chat is not None
    with pytest.raises(SecurityError):
        chat.apply_chat([])


def test_settings_say_whether_bos_is_added(tmp_path: Path) -> None:
    testing.tiny_tokenizer().save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"add_bos_token": False, "eos_token": {"content": "<pad>"}}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer is not None and tokenizer.encode("a") == tokenizer.encode_completion("a")
    assert tokenizer.eos_id == 0


def test_a_folder_without_tokenizer_and_damaged_ones(tmp_path: Path, llama2_folder: Path) -> None:
    assert load_tokenizer(tmp_path) is None
    (tmp_path / "tokenizer.model").write_bytes((llama2_folder / "tokenizer.model").read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"tokenizer\.model cannot be read"):
        load_tokenizer(tmp_path)
    shutil.copy(llama2_folder / "tokenizer.model", tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"<extra>": 32000}')
    with pytest.raises(ModelError, match="'<extra>'"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        load_tokenizer(tmp_path)

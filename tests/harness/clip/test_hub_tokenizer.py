"""Tokenizers of the hub: from files beside the weights, and one line where one is missing or does not fit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.clip.backbones import files_of
from harness.clip.configuration import TextConfiguration
from harness.clip.hub_tokenizer import load_tokenizer, stand_in_tokenizer
from harness.clip.load import build_without_weights, load_backbone
from harness.clip.pretrained import fetch_weights
from harness.clip.prompts import end_of_text, tokenize
from harness.clip.tokenizer_files import TokenizerFiles, cached_tokenizer, find_tokenizer, tokenizer_beside
from harness.errors import UserError
from harness.experiment.content import backbone_content
from tests.small_siglip import CONFIGURATION, write_snapshot, write_tokenizer

WORDS = ["a", "photo", "of", "cat", "x"]
TEXT = TextConfiguration(**CONFIGURATION["text_cfg"])  # type: ignore[arg-type]


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is in the cache of the hub."""
    monkeypatch.setattr("harness.clip.tokenizer_files.cached_file", lambda repository, name: None)


def loaded(folder: Path) -> Any:
    files = tokenizer_beside(folder / "x.safetensors")
    assert files is not None
    return load_tokenizer(files, TEXT)


def test_texts_are_cleaned_ended_and_padded(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, WORDS)
    tokenizer = loaded(tmp_path)
    # 0 is unknown, 1 ends a text and pads it; punctuation and capitals are gone.
    assert tokenizer(["A photo, of a_Cat!", "zebra", ""]).tolist() == [
        [2, 3, 4, 2, 5, *[1] * 7],
        [0, *[1] * 11],
        [1] * 12,
    ]
    long = tokenizer(["a " * 30])
    assert long.tolist() == [[*[2] * 11, 1]]
    assert tokenizer(["a " * 30], context_length=40).shape == (1, 40)
    with pytest.raises(UserError, match="has 13 tokens, and the text tower takes 12: use fewer context tokens"):
        tokenize(["a " * 12], tokenizer, end_id=tokenizer.end_id)


def test_padding_is_what_the_files_say(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, [*WORDS, "<pad>"])
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<pad>", "eos_token": {"content": "</s>"}}')
    assert loaded(tmp_path)(["cat"]).tolist() == [[5, 1, *[7] * 10]]
    (tmp_path / "tokenizer_config.json").unlink()
    assert loaded(tmp_path)(["cat"]).tolist() == [[5, *[1] * 11]]
    (tmp_path / "special_tokens_map.json").write_text('{"pad_token": "<nothing>"}')
    with pytest.raises(UserError, match="has no padding token '<nothing>'"):
        loaded(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text("[]")
    with pytest.raises(UserError, match=r"tokenizer .*special_tokens_map\.json"):
        loaded(tmp_path)


def test_a_vocabulary_of_gemma_pads_with_a_token_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, ["<eos>", "<pad>", "cat"])
    (tmp_path / "tokenizer_config.json").unlink()
    assert loaded(tmp_path)(["cat"]).tolist() == [[4, 2, *[3] * 10]]


def test_sentencepiece_gives_the_ids_of_its_model(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    sentences = iter(["a photo of a cat", "a photo of a dog", "the cat sees the dog", "x x x x"] * 20)
    with (tmp_path / "spiece.model").open("wb") as file:
        options = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "hard_vocab_limit": False, "minloglevel": 2}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences, model_writer=file, vocab_size=40, **options
        )
    tokenizer = loaded(tmp_path)
    expected = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model")).encode("a cat")
    ids = tokenizer(["A cat."])[0].tolist()
    assert ids == [*expected, 1, *[1] * (11 - len(expected))]


@pytest.mark.parametrize(("name", "library"), [("tokenizer.json", "tokenizers"), ("spiece.model", "sentencepiece")])
def test_damaged_files_and_missing_libraries_are_said(
    tmp_path: Path, name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("{ this is neither")
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, library, None)
        with pytest.raises(UserError, match=f"needs the library {library}: pip install 'skipbench\\[siglip\\]'"):
            loaded(tmp_path)
    pytest.importorskip(library)
    with pytest.raises(UserError, match=f"tokenizer '{tmp_path / name}' cannot be read: "):
        loaded(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path, [f"w{number}" for number in range(600)])
    with pytest.raises(UserError, match=r"gives the id 501, and text_cfg\.vocab_size is 500: the tokenizer is that of"):
        loaded(tmp_path)(["w499"])
    tokens = json.loads((tmp_path / "tokenizer.json").read_text())
    tokens["model"]["vocab"] = {"<unk>": 0, "w": 1}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(UserError, match="has no end-of-text token"):
        loaded(tmp_path)


def test_a_snapshot_is_loaded_with_the_tokenizer_beside_it(tmp_path: Path, no_hub: None) -> None:
    pytest.importorskip("tokenizers")
    folder = write_snapshot(tmp_path, WORDS)
    clip = load_backbone(str(folder))
    prompts = clip.tokenize(["a photo of a cat.", "a cat"])
    assert prompts.ids[1].tolist() == [2, 5, *[1] * 10]
    assert prompts.eot.tolist() == [5, 2]
    assert clip.preprocessing.resize_mode == "squash"
    assert clip.logit_bias is not None
    assert float(clip.logit_bias) == -10


def test_the_tokenizer_belongs_to_the_identity(tmp_path: Path, no_hub: None) -> None:
    folder = write_snapshot(tmp_path, WORDS)
    model, files = files_of(str(folder))
    assert model is None
    assert {path.name for path in files} == {
        "open_clip_model.safetensors",
        "open_clip_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    before = backbone_content(str(folder))
    write_tokenizer(folder, [*WORDS, "dog"])
    assert backbone_content(str(folder)) != before


def test_a_missing_tokenizer_is_said_before_weights_are_computed(tmp_path: Path, no_hub: None) -> None:
    folder = write_snapshot(tmp_path, WORDS)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError) as caught:
        load_backbone(str(folder))
    assert str(caught.value) == (
        f"the tokenizer of backbone '{folder}' is not on this machine: put its tokenizer.json beside the weights, or "
        "download it once (hf download somebody/small-siglip tokenizer.json tokenizer_config.json)"
    )
    # An estimate needs neither weights nor tokenizer.
    assert build_without_weights(str(folder)).tokenize(["a cat"]).ids.shape == (1, 12)


def test_the_cache_of_the_hub_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tokenizer(tmp_path, WORDS)
    (tmp_path / "elsewhere").mkdir()

    def cached(repository: str, name: str) -> Path | None:
        assert repository == "somebody/small-siglip"
        return path if (path := tmp_path / name).is_file() else None

    monkeypatch.setattr("harness.clip.tokenizer_files.cached_file", cached)
    expected = TokenizerFiles(tmp_path / "tokenizer.json", (tmp_path / "tokenizer_config.json",))
    assert cached_tokenizer("somebody/small-siglip") == expected
    assert find_tokenizer(tmp_path / "elsewhere" / "x.pt", "somebody/small-siglip") == expected
    assert find_tokenizer(None, "somebody/small-siglip") == expected


def test_a_tag_fetches_its_tokenizer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, str]] = []
    monkeypatch.setattr("harness.clip.pretrained.ask_hub", lambda repository: None)
    monkeypatch.setattr("open_clip.download_pretrained", lambda tag: None)
    monkeypatch.setattr("harness.clip.tokenizer_files.cached_file", lambda repository, name: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, name: fetched.append((repository, name)))
    fetch_weights("ViT-B-16-SigLIP:webli")
    repository = "timm/ViT-B-16-SigLIP"
    assert fetched == [(repository, "tokenizer_config.json"), (repository, "tokenizer.json")]


def test_what_stands_in_keeps_to_the_ids_of_the_tower() -> None:
    tokenizer = stand_in_tokenizer(TEXT)
    ids = tokenizer(["a photo of a cat", "A photo of a cat!", "zebra"])
    assert torch.equal(ids[0], ids[1])
    assert not torch.equal(ids[0], ids[2])
    eot = end_of_text(ids, tokenizer.end_id)
    assert eot.tolist()[0] == 5
    for row, end in zip(ids, eot, strict=True):
        assert row[end:].tolist() == [1] * (12 - int(end))
        assert (row[:end] > 1).all()

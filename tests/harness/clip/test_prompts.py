"""Templates and tokens."""

import pytest
import torch

from harness.clip.prompts import fill_template, indefinite_article, tokenize
from harness.errors import UserError


def fake_tokenizer(texts: list[str]) -> torch.Tensor:
    """One token a letter, end of text = 99, padded to 10."""
    return torch.tensor([[1, *(2 for _ in text), 99, *([0] * 10)][:10] for text in texts])


def test_prompts_are_cut_at_the_longest_end_of_text() -> None:
    prompts = tokenize(["ab", "abcd", "a"], fake_tokenizer)
    assert prompts.ids.shape == (3, 6)
    assert prompts.eot.tolist() == [3, 5, 2]
    assert len(prompts) == 3


def test_full_length_on_request() -> None:
    assert tokenize(["ab"], fake_tokenizer, cut=False).ids.shape == (1, 10)


def test_no_classes_is_an_error() -> None:
    with pytest.raises(UserError, match="no classes"):
        tokenize([], fake_tokenizer)


@pytest.mark.parametrize(
    ("template", "name", "text"),
    [
        ("a photo of a {}.", "sea_otter", "a photo of a sea otter."),
        ("{} texture.", "banded", "banded texture."),
        ("a drawing of {article} {}.", "asian dish", "a drawing of an asian dish."),
        ("a drawing of {article} {}.", "unhappy face", "a drawing of an unhappy face."),
        ("a drawing of {article} {}.", "mammal", "a drawing of a mammal."),
    ],
)
def test_templates(template: str, name: str, text: str) -> None:
    assert fill_template(template, name) == text


def test_article_follows_the_letter() -> None:
    assert [indefinite_article(name) for name in ("Apple", "hour", "1st")] == ["an", "a", "a"]

"""Templates and tokens."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.clip.prompts import fill_template, indefinite_article, tokenize
from harness.clip.towers import CLIP
from harness.errors import UserError


def fake_tokenizer(texts: list[str], context_length: int = 10) -> torch.Tensor:
    """One token a letter, end of text = 99, padded or cut to the context length."""
    rows = [[1, *map(ord, text), *([0] * context_length)][:context_length] for text in texts]
    for row, text in zip(rows, texts, strict=True):
        row[min(len(text) + 1, context_length - 1)] = 999
    return torch.tensor(rows)


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


def test_prompts_that_do_not_fit_are_refused_not_cut(clip: CLIP) -> None:
    fits = " ".join(["X"] * 17) + " a"
    assert int(clip.tokenize([fits, "a cat"]).eot[0]) == 19
    with pytest.raises(
        UserError, match=r"the prompt 'X X .* a\.' has 21 tokens, and the text tower takes 20: use fewer"
    ):
        clip.tokenize(["a cat", f"{fits}."])


@given(st.lists(st.text("ab", max_size=6), min_size=1, max_size=5))
def test_shared_tokens_are_those_that_all_prompts_begin_with(texts: list[str]) -> None:
    tokenized = tokenize(texts, fake_tokenizer)
    shared, rows = tokenized.shared, [row[: int(last)] for row, last in zip(tokenized.ids, tokenized.eot, strict=True)]
    assert all(torch.equal(row[:shared], rows[0][:shared]) for row in rows)
    one_more = {tuple(row[: shared + 1].tolist()) for row in rows}
    assert len(one_more) > 1 or shared == min(map(len, rows))

"""Hints for mistyped names."""

import re
from collections.abc import Callable

import pytest

from harness.clip.backbones import parse_backbone
from harness.data.datasets import find_dataset
from harness.errors import UserError, nearest
from harness.experiment.protocols import find_protocol
from harness.experiment.registry import check_method
from harness.text import plain


def test_the_nearest_name_and_all_of_a_short_list() -> None:
    assert nearest("skipp", ["zeroshot", "skip"]) == " Did you mean 'skip'? Known: skip, zeroshot."


def test_no_guess_where_nothing_is_near() -> None:
    assert nearest("qqq", ["zeroshot", "skip"]) == " Known: skip, zeroshot."


def test_long_lists_are_not_shown() -> None:
    names = [f"model-{number}" for number in range(50)]
    assert nearest("model-7x", names) == " Did you mean 'model-7'?"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("plain 'é' 漢\u00a0%", "plain 'é' 漢\u00a0%"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("half\udcff", "half\\udcff"),
        ("turned\u202e", "turned\\u202e"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_a_line_is_one_line_whatever_a_name_holds(text: str, printed: str) -> None:
    assert plain(text) == printed
    assert str(UserError(text)) == printed


NAMES = {
    check_method: {
        "coop": ["CoOp", "COOP"],
        "cocoop": ["CoCoOp", "Co-CoOp", "co coop"],
        "skip": ["SkipTuning", "skip-tuning", "Skip Tuning", "skp"],
        "clip_adapter": ["CLIP-Adapter", "clip adapter", "clipadapter"],
        "maple": ["MaPLe"],
        "zeroshot": ["zero-shot", "ZeroShotCLIP"],
        "finetune": ["fine-tuning", "full fine-tuning"],
        "skip,coop": ["skip coop", "skip;coop", "Skip, CoOp", "skip+coop"],
    },
    find_dataset: {
        "dtd": ["DTD", "DescribableTextures"],
        "eurosat": ["EuroSAT"],
        "oxford_flowers": ["Flowers102", "OxfordFlowers", "oxford-flowers"],
        "oxford_pets": ["OxfordPets", "pets", "OxfordIIITPet"],
        "stanford_cars": ["StanfordCars", "cars"],
        "caltech101": ["Caltech101", "caltech-101"],
        "fgvc_aircraft": ["FGVCAircraft", "aircraft"],
        "imagenet_a": ["ImageNet-A"],
        "emoji-faces": ["emoji faces", "Emoji_Faces"],
    },
    find_protocol: {
        "base_to_new": ["base2new", "base-to-new", "BaseToNew"],
        "few_shot": ["fewshot", "few-shot"],
        "domain_generalization": ["domain generalisation"],
    },
    parse_backbone: {
        "ViT-B-16-quickgelu": ["ViT-B/16", "vitb16", "vit_b_16"],
        "ViT-B-32-quickgelu": ["ViT-B/32"],
        "ViT-B-16": ["ViT-B/16:laion2b_s34b_b88k"],
        "clip-emoji": ["clip_emoji", "CLIP emoji"],
    },
}


@pytest.mark.parametrize("find", NAMES)
def test_the_one_right_name_whatever_the_spelling(find: Callable[[str], object]) -> None:
    for name, words in NAMES[find].items():
        for word in words:
            with pytest.raises(UserError, match=f"unknown .*'{re.escape(word)}'. Did you mean '{name}'[?]"):
                find(word)


def test_an_error_is_one_line_whatever_is_in_it() -> None:
    assert str(UserError("no 'a\nb\x1b[31m\u2028c' – ü")) == "no 'a\\nb\\x1b[31m\\u2028c' – ü"

"""Stages compose to open_clip's own outputs."""

import itertools
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from harness.clip.backbones import bundled, model_config
from harness.clip.checkpoints import read_checkpoint
from harness.clip.configuration import read_configuration
from harness.clip.load import build_of_open_clip, load_backbone
from harness.clip.towers import CLIP, END, RAW
from harness.errors import UserError

TEXTS = ["a drawing of a cat.", "a drawing of an orange thing that is much longer.", "arrow"]


@pytest.fixture(scope="module")
def reference() -> open_clip.CLIP:
    """open_clip's own model of the embedded checkpoint, frozen as ours is (torch's kernels ask for that)."""
    path = bundled()["clip-emoji"]
    model = build_of_open_clip(read_configuration(path.with_suffix(".json")))
    model.load_state_dict(read_checkpoint(path))
    return model.eval().requires_grad_(False)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def plain(clip: CLIP) -> CLIP:
    """The embedded CLIP without the speed-ups, each of which rounds a little differently."""
    clip.speedups.switch_off()
    return clip


def test_whole_towers_equal_open_clip(clip: CLIP, reference: open_clip.CLIP, pixels: torch.Tensor) -> None:
    ids = clip.tokenizer(TEXTS)
    torch.testing.assert_close(clip.image.run(pixels), reference.encode_image(pixels), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(clip.text.run(ids), reference.encode_text(ids), rtol=1e-5, atol=1e-5)
    clip.speedups.switch_off()
    assert torch.equal(clip.image.run(pixels), reference.encode_image(pixels))
    assert torch.equal(clip.text.run(ids), reference.encode_text(ids))


@pytest.mark.parametrize("middle", [RAW, 0, 1, 3, 5, 6, END])
def test_stages_compose(plain: CLIP, pixels: torch.Tensor, middle: int) -> None:
    prompts = plain.tokenize(TEXTS)
    in_two = plain.image.run(plain.image.run(pixels, RAW, middle), middle, END)
    assert torch.equal(in_two, plain.image.run(pixels))
    texts = plain.text.run(plain.text.run(prompts.ids, RAW, middle), middle, END, prompts.eot)
    assert torch.equal(texts, plain.text.run(prompts.ids))


def test_every_stage_by_itself_gives_the_whole(plain: CLIP, pixels: torch.Tensor) -> None:
    x = pixels
    stages = [RAW, *range(plain.image.num_blocks + 1), END]
    for start, stop in itertools.pairwise(stages):
        x = plain.image.run(x, start, stop)
    assert torch.equal(x, plain.image.run(pixels))


def test_running_with_and_without_gradients_is_the_same(clip: CLIP, pixels: torch.Tensor) -> None:
    with torch.no_grad():
        frozen = clip.image.run(pixels, RAW, 3)
    assert torch.equal(frozen, clip.image.run(pixels, RAW, 3))


def test_impossible_stages_are_refused(clip: CLIP, pixels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="no stage 7 in a tower of 6 blocks"):
        clip.image.run(pixels, RAW, 7)
    with pytest.raises(ValueError, match="backwards"):
        clip.image.run(pixels, 3, 2)
    with pytest.raises(ValueError, match="end-of-text positions"):
        clip.text.run(clip.text.run(clip.tokenizer(TEXTS), RAW, 2), 2, END)


@pytest.mark.parametrize("model", ["ViT-B-32", "ViT-B-16-quickgelu", pytest.param("ViT-L-14", marks=pytest.mark.long)])
def test_real_architectures_equal_open_clip(model: str) -> None:
    torch.manual_seed(0)
    ours = load_backbone(f"{model}:random")
    network = build_of_open_clip(model_config(model))
    state = {name.replace("image.", "visual."): value for name, value in ours.state_dict().items()}
    network.load_state_dict({name.removeprefix("text."): value for name, value in state.items()})
    network.eval().requires_grad_(False)
    ours.speedups.switch_off()
    pixels, ids = torch.randn(2, 3, 224, 224), ours.tokenizer(["a photo of a cat.", "dog"])
    # Convolution may pick another kernel for memory laid out differently, hence not bit for bit.
    torch.testing.assert_close(ours.image.run(pixels), network.encode_image(pixels), rtol=1e-4, atol=1e-4)
    assert torch.equal(ours.text.run(ids), network.encode_text(ids))


def test_other_architectures_are_refused() -> None:
    with pytest.raises(UserError, match="image tower is timm's"):
        load_backbone("convnext_base:random")


def test_embedded_tokenizer_is_clips_own_with_fewer_merges(clip: CLIP) -> None:
    folder = Path(bundled()["clip-emoji"]).parent
    tokenizer = SimpleTokenizer(bpe_path=str(folder / "bpe_4k.txt.gz"), context_length=20)
    assert tokenizer.vocab_size == clip.text.token_embedding.num_embeddings
    assert torch.equal(tokenizer(TEXTS), clip.tokenizer(TEXTS))

"""The benchmark of the speed-ups: operations follow from arithmetic, and all ways to compute agree."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.clip.backbones import bundled
from harness.clip.load import load_backbone
from harness.data.datasets import read_dataset
from harness.experiment.registry import method_class, method_names
from harness.reference.speed import benchmark as benchmark_module
from harness.reference.speed.benchmark import Benchmark, class_names
from harness.reference.speed.measurement import Measurement
from harness.reference.speed.spec import Row, settings_of
from harness.reference.speed.subject import TEMPLATE
from tests.harness.reference.speed.specs import BATCH, CLASSES, at_once, spec_of

CPU = torch.device("cpu")

ROWS = (
    Row(method="zeroshot", reference_texts_once=True),
    Row(method="clip_adapter", reference_texts_once=True),
    Row(method="coop", options={"n_ctx": 4}),
    Row(method="cocoop", batch_size=1),
    Row(method="maple", options={"depth": 6}),
    Row(method="finetune"),
    # With all classes in every batch the number of its texts is known.
    Row(method="skip", options={"depth": 3, "class_ratio": 1}, reference_caches=True),
)
TRAINED = [row.method for row in ROWS if row.method != "zeroshot"]
# Methods on features: in each of them a step is a small matter, and the image tower is what costs.
OPTIONS = {"coprompt": {"depth": 6}, "promptsrc": {"depth_text": 6, "depth_image": 6}, "tcp": {"layer": 4}}
OTHERS = [name for name in method_names() if name not in {row.method for row in ROWS}]
# One text a class for a teacher, which computes 80 of PromptSRC's and is no matter of the speed-ups.
TEACHERS = {name: "zeroshot" if method_class(name).teacher else None for name in OTHERS}
ON_FEATURES = tuple(
    Row(method=name, options=OPTIONS.get(name, {}), reference_caches=True, teacher_templates=TEACHERS[name])
    for name in OTHERS
)
Found = dict[tuple[str, str], Measurement]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread is the fastest for tensors this small, however busy the machine is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def measure() -> Iterator[Callable[..., Found]]:
    """Measures rows without repeating anything for the sake of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark_module, "time_in_turn", at_once)

        def found(*rows: Row, **changes: Any) -> Found:
            benchmark = Benchmark(spec_of(*rows, **changes), CPU)
            measured = list(benchmark.measure())
            assert all("takes no training step" in line for line in benchmark.left_out)
            return {(item.method, item.setting): item for item in measured}

        yield found


@pytest.fixture(scope="module")
def brief(measure: Callable[..., Found]) -> Found:
    """All methods, off and on."""
    return measure(*ROWS, *ON_FEATURES, each=False)


@pytest.fixture(scope="module")
def each(measure: Callable[..., Found]) -> Found:
    """Three methods that between them need every speed-up, also without each."""
    return measure(Row(method="zeroshot"), Row(method="finetune"), Row(method="cocoop"), classes=4, each=True)


# What it computes.


def test_every_method_computes_the_same_off_and_on(brief: Found) -> None:
    assert set(brief) == {(name, setting) for name in method_names() for setting in ("off", "on")}
    for (name, setting), item in brief.items():
        # The linear probe's weights are zero before it chooses its penalty.
        least = 0 if name == "linear_probe" else 1e-12
        assert item.difference == 0 if setting == "off" else least <= item.difference < 1e-4, name


def test_a_method_that_takes_no_step_has_texts_and_inference_and_a_reason(brief: Found) -> None:
    costs = brief["gda", "on"].costs
    assert (costs.step_seconds, costs.epoch_seconds, costs.cache_seconds) == (None, None, None)
    assert costs.texts_seconds
    assert costs.inference_seconds
    benchmark = Benchmark(spec_of(Row(method="tip_adapter"), each=False), CPU)
    assert [item.setting for item in benchmark.measure()] == ["off", "on"]
    assert benchmark.left_out == ["tip_adapter is fitted and takes no training step: runs measure the phase fit"]


def test_every_method_computes_the_same_without_each_speed_up(each: Found) -> None:
    assert len(each) > 12
    assert all(item.difference < 1e-4 for item in each.values())


@dataclass(frozen=True)
class Shape:
    """Of a tower: blocks of 4 matrices width x width in attention and 2 x mlp of them in the MLP."""

    width: int
    mlp: float
    blocks: int

    def whole(self, tokens: int, passes: int, blocks: int) -> float:
        """Least operations of whole blocks: 2 a weight and token, attention itself not counted."""
        return passes * blocks * tokens * (4 + 2 * self.mlp) * 2 * self.width**2

    def lean(self, tokens: int, rows: int, pairs: int, passes: int, blocks: int) -> float:
        """Most operations of blocks whose last one computes keys and values of all tokens, the rest for one a row.

        Attention of so many pairs of tokens is at most 4 x width a pair forward, and backward, where it is computed
        again, 10.
        """
        last = passes * (tokens * 2 + rows * (2 + 2 * self.mlp)) * 2 * self.width**2
        attention = blocks * 14 * pairs * self.width
        return self.whole(tokens, passes, blocks - 1) + last + attention


CONFIG = json.loads(bundled()["clip-emoji"].with_suffix(".json").read_text())
TEXT, IMAGE = (
    Shape(tower["width"], tower["mlp_ratio"], tower["layers"]) for tower in (CONFIG["text_cfg"], CONFIG["vision_cfg"])
)
CONTEXT, EMBEDDING = CONFIG["text_cfg"]["context_length"], CONFIG["embed_dim"]
PATCH = CONFIG["vision_cfg"]["patch_size"]
PATCHES = (CONFIG["vision_cfg"]["image_size"] // PATCH) ** 2
PIXELS = PATCHES + 1
EMBED = PATCHES * IMAGE.width * 2 * 3 * PATCH**2
"""Operations of the patch embedding of one picture."""


def prompt_lengths() -> tuple[int, int, int]:
    """Of the prompts that are measured: tokens in all up to end-of-text with the first ones once, the longest, rows."""
    names = class_names(spec_of(*ROWS))
    ids = load_backbone("clip-emoji").tokenizer([TEMPLATE.replace("{}", name) for name in names])
    lengths = (ids.argmax(dim=1) + 1).tolist()
    shared = 5  # start of text, a, photo, of, a
    assert not (ids[:, :shared] != ids[0, :shared]).any()
    assert len(set(ids[:, shared].tolist())) > 1
    return shared + sum(lengths) - shared * len(names), max(lengths), len(names)


def step_bounds(method: str) -> tuple[float, float]:
    """Least operations of a step of `off`, and most of one of `on`: weight matrices, attention, and a small rest.

    A pass forward through frozen weights takes one pass backward, to the input; trained ones take another.
    """
    tokens, longest, rows = prompt_lengths()
    pictures = 1 if method == "cocoop" else BATCH
    # Similarities, both projections, adapters, nets and couplings.
    rest = 8 * EMBEDDING * (pictures * rows + (pictures + rows) * EMBEDDING)

    def texts(passes: int, blocks: int = TEXT.blocks) -> tuple[float, float]:
        return (
            TEXT.whole(rows * CONTEXT, passes, blocks),
            TEXT.lean(tokens, rows, max(tokens**2, rows * longest**2), passes, blocks),
        )

    def images(passes: int, blocks: int = IMAGE.blocks, prompts: int = 0) -> tuple[float, float]:
        seen = PIXELS + prompts
        return (
            IMAGE.whole(pictures * seen, passes, blocks),
            IMAGE.lean(pictures * seen, pictures, pictures * seen**2, passes, blocks),
        )

    frozen_images = images(1)[0], 0.0
    parts = {
        # The official code encodes the texts once.
        "clip_adapter": [frozen_images],
        "coop": [frozen_images, texts(2)],
        "cocoop": [frozen_images, texts(2)],
        "maple": [images(2, prompts=2), texts(2), (pictures * EMBED, pictures * EMBED)],
        "finetune": [images(3), texts(3), (pictures * EMBED, pictures * EMBED)],
        "skip": [images(3, blocks=3), texts(3, blocks=3)],
    }[method]
    return sum(off for off, _ in parts), sum(on for _, on in parts) + rest


@pytest.mark.parametrize(
    ("method", "floor"),
    [("clip_adapter", 100), ("coop", 4.8), ("cocoop", 3.9), ("maple", 1.5), ("finetune", 1.5), ("skip", 1.7)],
)
def test_operations_of_a_step_are_those_of_arithmetic(brief: Found, method: str, floor: float) -> None:
    off, on = (brief[method, setting].costs.step_gflop for setting in ("off", "on"))
    assert off
    assert on
    least, most = step_bounds(method)
    assert off * 1e9 >= least
    assert on * 1e9 <= most
    assert off / on >= least / most >= floor


@pytest.mark.parametrize("method", TRAINED)
def test_a_step_never_takes_more_operations_or_memory_on_than_off(brief: Found, method: str) -> None:
    off, on = (brief[method, setting].costs for setting in ("off", "on"))
    assert off.step_gflop
    assert off.step_mib
    assert 0 < (on.step_gflop or 0) < off.step_gflop
    assert 0 < (on.step_mib or 0) < off.step_mib


@pytest.mark.parametrize("method", ["coop", "finetune", "skip"])
def test_inference_encodes_the_prompts_of_every_batch_only_where_it_is_off(brief: Found, method: str) -> None:
    off, on = (brief[method, setting].costs.inference_gflop for setting in ("off", "on"))
    picture = IMAGE.whole(PIXELS, 1, IMAGE.blocks)
    texts = TEXT.whole(CLASSES * CONTEXT, 1, TEXT.blocks)
    assert off
    assert on
    assert off * 1e9 >= picture + texts / BATCH
    rest = 8 * EMBEDDING * (CLASSES + EMBEDDING)
    assert on * 1e9 <= EMBED + IMAGE.lean(PIXELS, 1, PIXELS**2, 1, IMAGE.blocks) + rest
    assert off / on > 2


def test_the_cache_is_filled_by_the_frozen_blocks_only(brief: Found) -> None:
    off, on = (brief["skip", setting].costs.cache_gflop for setting in ("off", "on"))
    assert off
    assert on
    assert off * 1e9 >= EMBED + IMAGE.whole(PIXELS, 1, 6)
    assert on * 1e9 <= EMBED + IMAGE.whole(PIXELS, 1, 3) + 3 * 4 * PIXELS**2 * IMAGE.width
    # MaPLe, full fine-tuning and these have no frozen image block.
    without = {"vpt", "ivlp", "clip_lora", "layernorm", "bitfit"}
    trained = {row.method for row in ON_FEATURES if method_class(row.method).trains} - without
    assert {method for (method, _), item in brief.items() if item.costs.cache_gflop is not None} == {
        "clip_adapter",
        "coop",
        "cocoop",
        "skip",
        *trained,
    }


@pytest.mark.parametrize("method", ["zeroshot", "clip_adapter"])
def test_methods_whose_official_code_encodes_texts_once_gain_nothing_from_it(brief: Found, method: str) -> None:
    off, on = (brief[method, setting].costs.inference_gflop for setting in ("off", "on"))
    assert off
    assert on
    # The whole tower, beside one whose last block computes a single token.
    assert 1 < off / on < 1 + 1 / IMAGE.blocks + 0.1


def test_what_does_not_train_has_no_step(brief: Found) -> None:
    costs = brief["zeroshot", "on"].costs
    assert (costs.step_seconds, costs.step_mib, costs.step_gflop, costs.cache_seconds) == (None,) * 4
    assert costs.epoch_cpu_seconds is None
    assert (costs.inference_cpu_seconds, costs.inference_seconds) == (2.0 / BATCH, 3.0 / BATCH)


def test_an_epoch_is_its_caching_pass_and_its_steps(brief: Found) -> None:
    images, steps = CLASSES * 16, CLASSES * 16 // BATCH
    # `off` caches nothing but Skip Tuning's tokens; a step takes 4 seconds off and 2 on, and so does a caching batch.
    assert brief["coop", "off"].costs.epoch_cpu_seconds == pytest.approx(4 * steps)
    assert brief["coop", "on"].costs.epoch_cpu_seconds == pytest.approx(2 * steps + images * 2 / BATCH)
    assert brief["coop", "on"].costs.epoch_seconds == pytest.approx(3 * steps + images * 3 / BATCH)
    assert brief["skip", "off"].costs.epoch_cpu_seconds == pytest.approx(4 * steps + images * 4 / BATCH)
    assert brief["maple", "on"].costs.epoch_cpu_seconds == pytest.approx(2 * steps)
    assert brief["cocoop", "off"].costs.epoch_cpu_seconds == pytest.approx(4 * images)


def test_ratios_are_those_of_the_other_setting_by_here(brief: Found, each: Found) -> None:
    for found in (brief, each):
        for (method, setting), item in found.items():
            assert item.against == ("off" if setting in ("off", "on") else "on")
            other, here = asdict(found[method, item.against].costs), asdict(item.costs)
            expected = {name: other[name] / here[name] for name in other if other[name] and here[name]}
            # Times here are 4 and 2 seconds, whatever the settings; a pair is worth 2.
            timed = {f"{work}_cpu_seconds": 2.0 for work in item.spreads}
            assert item.ratios == expected | timed


def test_settings_that_change_nothing_for_a_method_are_left_out(each: Found) -> None:
    settings_found = {method: {name for found, name in each if found == method} for method, _ in each}
    # Its texts are encoded before inference, and nothing trains; without the cache they are not kept beside it.
    of_inference = {"on without read_one_token", "on without texts_once", "on without cache"}
    assert settings_found["zeroshot"] == {"off", "on", *of_inference}
    assert "on without cache" in settings_found["cocoop"]
    # What it keeps of texts is their words, which cost no operation.
    assert "on without texts_once" not in settings_found["cocoop"]
    for method in ("finetune", "cocoop"):
        assert {f"on without {name}" for name in ("cut_prompts", "share_prefix", "read_one_token")} <= settings_found[
            method
        ]


def test_without_a_speed_up_only_what_it_changes_is_measured_again(each: Found) -> None:
    for (method, setting), item in each.items():
        if setting in ("off", "on"):
            continue
        for work in ("step", "inference"):
            here, on = (
                tuple(getattr(costs, f"{work}_{kind}") for kind in ("gflop", "mib"))
                for costs in (item.costs, each[method, "on"].costs)
            )
            assert here[0] is None or (here[0] >= on[0] and here != on)
            assert (work in item.spreads) == (here[0] is not None)
        assert (item.costs.cache_gflop, item.costs.texts_gflop) == (None, None)
    texts_once = each["finetune", "on without texts_once"].costs
    assert texts_once.step_gflop is None
    assert texts_once.inference_gflop is not None


def test_every_speed_up_is_measured_alone_for_some_method(each: Found) -> None:
    # Weights this small are updated at once, towers this narrow keep cheap outputs, and no method has low-rank changes.
    never = {f"on without {name}" for name in ("step_in_backward", "recompute_cheap", "changes_as_factors")}
    assert {name for _, name in each} == {setting.name for setting in settings_of(ROWS[0], each=True)} - never


# Class names.


@given(
    st.integers(2, 2000),
    st.sets(st.sampled_from(["emoji", "emoji-faces", "emoji-food", "emoji-objects"]), min_size=1).map(tuple),
)
@settings(deadline=None, max_examples=60)
def test_class_names_are_distinct_for_any_count(classes: int, datasets: tuple[str, ...]) -> None:
    spec = spec_of(*ROWS, classes=classes, class_names=datasets)
    names = class_names(spec)
    assert len(names) == len(set(names)) == classes
    known = {name for dataset in datasets for name in read_dataset(dataset, None).class_names}
    own = [name for name in names if name in known]
    assert len(own) == min(classes, len(known))
    # Those that are made up come last.
    assert names[: len(own)] == own
    assert all(name.rsplit(" ", 1)[0] in known and int(name.rsplit(" ", 1)[1]) > 1 for name in names[len(own) :])


def test_class_names_are_taken_from_all_over_the_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"one": ("a", "b", "c"), "two": ("c", "d", "e", "f")}
    monkeypatch.setattr(benchmark_module, "read_dataset", lambda name, root: SimpleNamespace(class_names=names[name]))
    datasets = ("one", "two")
    assert class_names(spec_of(*ROWS, classes=3, class_names=datasets)) == ["a", "c", "e"]
    assert class_names(spec_of(*ROWS, classes=6, class_names=datasets)) == ["a", "b", "c", "d", "e", "f"]
    assert class_names(spec_of(*ROWS, classes=9, class_names=datasets))[6:] == ["a 2", "b 2", "c 2"]
    assert class_names(spec_of(*ROWS, classes=13, class_names=datasets))[-2:] == ["f 2", "a 3"]

"""`skipbench speed`: operations follow from arithmetic, both ways to compute agree, and the table and JSON say so."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import harness.reference.speed
from harness.clip.backbones import bundled
from harness.clip.load import load_backbone
from harness.clip.speedups import NO_SPEEDUPS, Speedups
from harness.errors import UserError
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_names
from harness.experiment.settings import parse_overrides, read_yaml, validate
from harness.reference.speed import (
    TEMPLATE,
    Benchmark,
    Costs,
    Measurement,
    Outcome,
    Row,
    Setting,
    SpeedSpec,
    choose_rows,
    class_names,
    median_seconds,
    ratios,
    settings_of,
)
from harness.report.speed_table import NOTE, shown, speed_table
from tests.commands import error_line, skipbench

CPU = torch.device("cpu")
CLASSES, BATCH = 8, 2
ROWS = (
    Row(method="zeroshot"),
    Row(method="clip_adapter"),
    Row(method="coop", options={"n_ctx": 4}),
    Row(method="cocoop", batch_size=1),
    Row(method="maple", options={"depth": 6}),
    Row(method="finetune"),
    # With all classes in every batch the number of its texts is known.
    Row(method="skip", options={"depth": 3, "class_ratio": 1}, reference_caches=True),
)
TRAINED = [row.method for row in ROWS if row.method != "zeroshot"]
Found = dict[tuple[str, str], Measurement]


def spec_of(*rows: Row, **changes: Any) -> SpeedSpec:
    sizes = {"classes": CLASSES, "batch_size": BATCH, "eval_batch_size": BATCH, "cache_batch_size": BATCH}
    return SpeedSpec(**{"backbone": "clip-emoji", "class_names": ("emoji-food",), "rows": rows, **sizes, **changes})


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
        patch.setattr(harness.reference.speed, "median_seconds", lambda work, device: 2.0)

        def found(*rows: Row, **changes: Any) -> Found:
            benchmark = Benchmark(spec_of(*rows, **changes), CPU)
            measured = list(benchmark.measure())
            assert benchmark.left_out == []
            return {(item.method, item.setting): item for item in measured}

        yield found


@pytest.fixture(scope="module")
def brief(measure: Callable[..., Found]) -> Found:
    """All methods, off and on."""
    return measure(*ROWS, each=False)


@pytest.fixture(scope="module")
def each(measure: Callable[..., Found]) -> Found:
    """Three methods that between them need every speed-up, also without each."""
    return measure(Row(method="zeroshot"), Row(method="finetune"), Row(method="cocoop"), classes=4, each=True)


# What it computes.


def test_every_method_computes_the_same_off_and_on(brief: Found) -> None:
    assert set(brief) == {(name, setting) for name in method_names() for setting in ("off", "on")}
    for (_, setting), item in brief.items():
        assert item.difference == 0 if setting == "off" else 0 < item.difference < 1e-4


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

    def lean(self, tokens: int, rows: int, length: int, passes: int, blocks: int) -> float:
        """Most operations of blocks whose last one computes keys and values of all tokens, the rest for one a row.

        Attention of rows of `length` tokens is at most 4 x length^2 x width forward, and backward, where it is
        computed again, 10.
        """
        last = passes * (tokens * 2 + rows * (2 + 2 * self.mlp)) * 2 * self.width**2
        attention = blocks * rows * 14 * length**2 * self.width
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
            TEXT.lean(tokens, rows, longest, passes, blocks),
        )

    def images(passes: int, blocks: int = IMAGE.blocks, prompts: int = 0) -> tuple[float, float]:
        seen = PIXELS + prompts
        return (
            IMAGE.whole(pictures * seen, passes, blocks),
            IMAGE.lean(pictures * seen, pictures, seen, passes, blocks),
        )

    frozen_images = images(1)[0], 0.0
    parts = {
        "clip_adapter": [frozen_images, (texts(1)[0], 0.0)],
        "coop": [frozen_images, texts(2)],
        "cocoop": [frozen_images, texts(2)],
        "maple": [images(2, prompts=2), texts(2), (pictures * EMBED, pictures * EMBED)],
        "finetune": [images(3), texts(3), (pictures * EMBED, pictures * EMBED)],
        "skip": [images(3, blocks=3), texts(3, blocks=3)],
    }[method]
    return sum(off for off, _ in parts), sum(on for _, on in parts) + rest


@pytest.mark.parametrize(
    ("method", "floor"),
    [("clip_adapter", 100), ("coop", 4.9), ("cocoop", 4), ("maple", 1.5), ("finetune", 1.5), ("skip", 1.7)],
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


@pytest.mark.parametrize("method", ["zeroshot", "clip_adapter", "coop", "finetune", "skip"])
def test_inference_encodes_the_prompts_of_every_batch_only_where_it_is_off(brief: Found, method: str) -> None:
    off, on = (brief[method, setting].costs.inference_gflop for setting in ("off", "on"))
    picture = IMAGE.whole(PIXELS, 1, IMAGE.blocks)
    texts = TEXT.whole(CLASSES * CONTEXT, 1, TEXT.blocks)
    assert off
    assert on
    assert off * 1e9 >= picture + texts / BATCH
    rest = 8 * EMBEDDING * (CLASSES + EMBEDDING)
    assert on * 1e9 <= EMBED + IMAGE.lean(PIXELS, 1, PIXELS, 1, IMAGE.blocks) + rest
    assert off / on > 2


def test_the_cache_is_filled_by_the_frozen_blocks_only(brief: Found) -> None:
    off, on = (brief["skip", setting].costs.cache_gflop for setting in ("off", "on"))
    assert off
    assert on
    assert off * 1e9 >= EMBED + IMAGE.whole(PIXELS, 1, 6)
    assert on * 1e9 <= EMBED + IMAGE.whole(PIXELS, 1, 3) + 3 * 4 * PIXELS**2 * IMAGE.width
    # MaPLe and full fine-tuning have no frozen block.
    assert {method for (method, _), item in brief.items() if item.costs.cache_gflop is not None} == {
        "clip_adapter",
        "coop",
        "cocoop",
        "skip",
    }


def test_what_does_not_train_has_no_step(brief: Found) -> None:
    costs = brief["zeroshot", "on"].costs
    assert (costs.step_seconds, costs.step_mib, costs.step_gflop, costs.cache_seconds) == (None,) * 4
    assert costs.inference_seconds == 2.0 / BATCH


def test_ratios_are_those_of_off_by_here(brief: Found, each: Found) -> None:
    for found in (brief, each):
        for (method, _), item in found.items():
            off, here = asdict(found[method, "off"].costs), asdict(item.costs)
            assert item.ratios == {
                name: off[name] / here[name] for name in off if off[name] and here[name]
            }  # of what both have
    assert ratios(Costs(step_gflop=1.0), Costs(step_gflop=8.0, step_mib=3.0)) == {"step_gflop": 8.0}
    assert ratios(Costs(texts_gflop=0.0), Costs(texts_gflop=2.0)) == {}


# Which settings.


def test_a_setting_differs_from_on_in_one_speed_up() -> None:
    off, on, *without = settings_of(Row(method="coop"), each=True)
    assert (off.name, off.cached, off.texts_once, off.speedups) == ("off", False, False, NO_SPEEDUPS)
    assert (on.name, on.cached, on.texts_once, on.speedups) == ("on", True, True, Speedups())
    switches = [item.name for item in fields(Speedups)]
    assert [setting.name for setting in without] == [
        f"on without {name}" for name in (*switches, "cache", "texts_once")
    ]
    for name, setting in zip(switches, without, strict=False):
        changed = replace(on.speedups, **{name: getattr(NO_SPEEDUPS, name)})
        assert setting == Setting(setting.name, changed, cached=True, texts_once=True)
    assert without[-2] == replace(on, name="on without cache", cached=False)
    assert without[-1] == replace(on, name="on without texts_once", texts_once=False)
    assert settings_of(Row(method="coop"), each=False) == [off, on]


def test_off_is_cached_where_the_reference_is() -> None:
    assert settings_of(Row(method="skip", reference_caches=True), each=False)[0].cached
    rows = read_yaml(EXPERIMENTS / "speed.yaml")["rows"]
    assert [row["method"] for row in rows if row.get("reference_caches")] == ["skip"]


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
        assert (item.costs.cache_gflop, item.costs.texts_gflop) == (None, None)
    texts_once = each["finetune", "on without texts_once"].costs
    assert texts_once.step_gflop is None
    assert texts_once.inference_gflop is not None


def test_every_speed_up_is_measured_alone_for_some_method(each: Found) -> None:
    everything = {setting.name for setting in settings_of(ROWS[0], each=True)}
    # Weights this small are updated in one part.
    assert {setting for _, setting in each} == everything - {"on without step_in_backward"}


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
    known = {name for dataset in datasets for name in harness.reference.speed.read_dataset(dataset, None).class_names}
    own = [name for name in names if name in known]
    assert len(own) == min(classes, len(known))
    # Those that are made up come last.
    assert names[: len(own)] == own
    assert all(name.rsplit(" ", 1)[0] in known and int(name.rsplit(" ", 1)[1]) > 1 for name in names[len(own) :])


def test_class_names_are_taken_from_all_over_the_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"one": ("a", "b", "c"), "two": ("c", "d", "e", "f")}
    monkeypatch.setattr(
        harness.reference.speed, "read_dataset", lambda name, root: SimpleNamespace(class_names=names[name])
    )
    datasets = ("one", "two")
    assert class_names(spec_of(*ROWS, classes=3, class_names=datasets)) == ["a", "c", "e"]
    assert class_names(spec_of(*ROWS, classes=6, class_names=datasets)) == ["a", "b", "c", "d", "e", "f"]
    assert class_names(spec_of(*ROWS, classes=9, class_names=datasets))[6:] == ["a 2", "b 2", "c 2"]
    assert class_names(spec_of(*ROWS, classes=13, class_names=datasets))[-2:] == ["f 2", "a 3"]


# Which rows.

ASKED = (Row(method="coop", options={"n_ctx": 4}), Row(method="coop", options={"n_ctx": 8}), Row(method="skip"))


def titles(spec: SpeedSpec) -> list[str]:
    return [row.title for row in spec.rows]


def test_rows_are_those_of_the_methods_asked_for() -> None:
    spec = spec_of(*ASKED)
    assert titles(choose_rows(spec, [], {})) == ["coop n_ctx=4", "coop n_ctx=8", "skip"]
    assert titles(choose_rows(spec, ["skip"], {})) == ["skip"]
    # Of methods without a row, one with their defaults.
    assert titles(choose_rows(spec, ["maple", "skip"], {})) == ["skip", "maple"]
    assert choose_rows(spec, ["maple"], {}).rows == (Row(method="maple"),)


def test_options_are_changed_in_all_rows_of_their_method_only() -> None:
    spec = choose_rows(spec_of(*ASKED), [], parse_overrides(["coop.class_specific=true", "skip.depth=2"]))
    assert titles(spec) == [
        "coop n_ctx=4 class_specific=True",
        "coop n_ctx=8 class_specific=True",
        "skip depth=2",
    ]
    # Rows that have become the same are one.
    assert titles(choose_rows(spec_of(*ASKED), [], parse_overrides(["coop.n_ctx=2"]))) == ["coop n_ctx=2", "skip"]


@pytest.mark.parametrize(
    ("methods", "override", "message"),
    [
        (["skpi"], "skip.depth=3", "unknown method 'skpi'. Did you mean 'skip'?"),
        (["coop"], "coop.n_ctxs=3", "unknown key 'coop.n_ctxs'. Did you mean 'n_ctx'?"),
        (["coop"], "coop.n_ctx=0", "coop.n_ctx=0: input should be greater than or equal to 1"),
        (["coop"], "skip.depth=3", "unknown key 'skip': only options of the methods can be changed"),
        ([], "train.lr=1", "unknown key 'train': only options of the methods can be changed"),
    ],
)
def test_what_cannot_be_chosen_is_refused_in_one_line(methods: list[str], override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        choose_rows(spec_of(*ASKED), methods, parse_overrides([override]))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["skip=5", "skip="])
def test_a_section_of_the_wrong_shape_is_refused_in_one_line(override: str) -> None:
    with pytest.raises(UserError, match="skip"):
        choose_rows(spec_of(*ASKED), ["skip"], parse_overrides([override]))


def test_options_stand_under_the_methods_name() -> None:
    assert Row.model_validate({"method": "coop", "coop": {"n_ctx": 4}}).options == {"n_ctx": 4}
    assert Row.model_validate({"method": "coop", "coop": None}) == Row(method="coop")
    with pytest.raises(UserError, match=r"unknown key 'rows\.0\.skip'"):
        validate(SpeedSpec, {"class_names": ["emoji"], "rows": [{"method": "coop", "skip": {"depth": 3}}]}, "")


def test_the_experiment_measures_every_method() -> None:
    spec = validate(SpeedSpec, read_yaml(EXPERIMENTS / "speed.yaml"), "")
    assert {row.method for row in spec.rows} == set(method_names())
    assert (spec.backbone, spec.classes, spec.batch_size, spec.precision) == ("ViT-B-16", 50, 4, "fp32")
    assert {row.method: row.batch_size for row in spec.rows if row.batch_size} == {"cocoop": 1}


# Distances, times.


def outcome(losses: list[float], gradient: list[float], logits: list[float]) -> Outcome:
    return Outcome(*map(torch.tensor, (losses, gradient, logits)))


def test_the_difference_is_the_largest_of_the_relative_distances() -> None:
    off = outcome([3.0, 4.0], [1.0, 0.0], [2.0, 0.0])
    assert off.difference(off) == 0
    assert outcome([3.0, 4.5], [1.0, 0.0], [2.0, 0.0]).difference(off) == pytest.approx(0.1)
    assert outcome([3.0, 4.5], [1.0, 0.3], [2.0, 0.0]).difference(off) == pytest.approx(0.3)
    assert outcome([3.0, 4.5], [1.0, 0.3], [2.0, 1.0]).difference(off) == pytest.approx(0.5)
    # Where nothing trains there are only logits.
    assert outcome([], [], [1.0]).difference(outcome([], [], [2.0])) == pytest.approx(0.5)


def test_a_gradient_of_nan_is_not_the_same_gradient() -> None:
    off = outcome([3.0], [1.0], [2.0])
    assert not outcome([3.0], [math.nan], [2.0]).difference(off) < 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still but for the work's own steps: `clock.now`."""
    fake = SimpleNamespace(now=100.0)
    monkeypatch.setattr(harness.reference.speed, "time", SimpleNamespace(perf_counter=lambda: fake.now))
    return fake


@pytest.mark.parametrize(
    ("durations", "options", "repetitions", "median"),
    [
        # At least three, however long they take; not the mean, not the first.
        ([50.0, 10.0, 20.0, 1.0], {}, 3, 20.0),
        ([50.0, 10.0, 20.0, 1.0, 1.0], {"least": 5}, 5, 10.0),
        # Short work is repeated until it took long enough, but not for ever.
        ([0.25, 0.125, 0.25, 0.25, 0.25, 9.0], {}, 5, 0.25),
        ([0.0] * 60, {}, 50, 0.0),
        ([0.0] * 60, {"most": 7}, 7, 0.0),
    ],
)
def test_times_are_medians_of_at_least_three_repetitions(
    clock: SimpleNamespace, durations: list[float], options: dict[str, int], repetitions: int, median: float
) -> None:
    waiting = iter(durations)

    def work() -> None:
        clock.now += next(waiting)

    assert median_seconds(work, CPU, **options) == pytest.approx(median)
    assert len(list(waiting)) == len(durations) - repetitions


# The table.


def measurement(setting: str, costs: Costs, difference: float = 0.0, **found: float) -> Measurement:
    return Measurement("coop", "coop n_ctx=4", 4, setting, costs, found, difference)


def test_cells_of_the_table() -> None:
    off = measurement("off", Costs(step_seconds=1.2345, step_mib=10.0), step_seconds=1.0, step_mib=1.0)
    on = measurement(
        "on",
        Costs(step_seconds=0.01234, step_mib=0.04, step_gflop=0.0001, texts_seconds=0.002),
        3.2e-7,
        step_seconds=100.04,
        step_mib=7.126,
        step_gflop=123456.0,
    )
    table = speed_table([off, on])
    assert list(table["method"]) == ["coop n_ctx=4"] * 2
    assert list(table["setting"]) == ["off", "on"]
    # Without a ratio beside `off`, without digits that mean nothing, and a dash where nothing was measured.
    assert list(table["step ms"]) == ["1234.5", "12.3 (100x)"]
    assert list(table["step MiB"]) == ["10.0", "0.0 (7.13x)"]
    assert list(table["step GFLOP"]) == ["-", "0.0 (>1000x)"]
    assert list(table["texts ms"]) == ["-", "2.0"]
    assert list(table["cache ms/img"]) == list(table["infer ms/img"]) == ["-", "-"]
    assert list(table["difference"]) == ["", "3e-07"]


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.456, "0.46"), (1.0, "1.00"), (99.9, "99.90"), (100.0, "100"), (999.4, "999"), (1000.0, ">1000")],
)
def test_ratios_have_no_digits_that_mean_nothing(ratio: float, text: str) -> None:
    assert shown(ratio) == text


# The command.


def strictly(text: str) -> Any:
    """JSON without NaN and infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_the_command_prints_a_table_and_writes_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(harness.reference.speed, "median_seconds", partial(median_seconds, enough_seconds=0))
    words = ["speed", "coop,skip", "--backbone", "clip-emoji", "--classes", "4", "--batch", "2", "--brief"]
    done = skipbench(*words, "skip.depth=3", "--results", str(tmp_path))
    assert done.returncode == 0
    # CoOp with 16 context tokens does not fit the text tower; the other rows are measured all the same.
    (note,) = done.stderr.splitlines()
    assert note.startswith("note: coop is left out: the prompt 'X X X X X X X X X X X X X X X X T-Rex.' has 23 tokens")
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        f"measured {title}, {name}" for title in ("coop n_ctx=4", "skip depth=3") for name in ("off", "on")
    ]
    assert lines[4].strip() == "clip-emoji, 4 classes, fp32"
    assert [line.split()[:3] for line in lines[6:10]] == [
        [*title.split(), name] for title in ("coop n_ctx=4", "skip depth=3") for name in ("off", "on")
    ]
    assert NOTE in done.stdout
    path = tmp_path / "speed" / "coop_skip-clip-emoji-4classes-batch2-fp32-cpu.json"
    assert lines[-1] == f"JSON: {path}"
    written = strictly(path.read_text())
    assert set(written) == {"spec", "machine", "measured"}
    assert (written["spec"]["classes"], written["spec"]["batch_size"], written["spec"]["each"]) == (4, 2, False)
    assert [row["options"] for row in written["spec"]["rows"]] == [{"n_ctx": 4}, {"n_ctx": 16}, {"depth": 3}]
    assert {"torch", "processor", "cores", "threads", "device", "git_commit"} <= set(written["machine"])
    measured = written["measured"]
    assert [(item["title"], item["setting"]) for item in measured] == [
        (title, name) for title in ("coop n_ctx=4", "skip depth=3") for name in ("off", "on")
    ]
    for item in measured:
        assert set(item["costs"]) == {cost.name for cost in fields(Costs)}
        assert item["costs"]["step_seconds"] > 0
        assert item["difference"] < 1e-4
        assert item["batch_size"] == 2


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    words = ["speed", "coop,maple", "coop.n_ctx=16", "--backbone", "clip-emoji", "--results", str(tmp_path)]
    done = skipbench(*words)
    assert done.returncode == 2
    coop, maple, error = done.stderr.splitlines()
    assert coop.startswith("note: coop is left out: the prompt ")
    assert "the text tower takes 20" in coop
    assert maple.startswith("note: maple is left out: maple.depth=9 is beyond a backbone of 6 blocks")
    assert error == "error: nothing could be measured"
    assert not list(tmp_path.rglob("*.json"))


def test_a_step_with_a_single_class_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    benchmark = Benchmark(spec_of(Row(method="skip", options={"depth": 3}), classes=2, batch_size=1, each=False), CPU)
    monkeypatch.setattr(harness.reference.speed, "median_seconds", lambda work, device: 2.0)
    path = harness.reference.speed.save(tmp_path, benchmark.spec, list(benchmark.measure()), benchmark.machine)
    assert strictly(path.read_text())["measured"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "1"], "classes=1: input should be greater than or equal to 2"),
        (["--batch", "0"], "batch_size=0: input should be greater than or equal to 1"),
        (["--precision", "fp8"], "precision='fp8': input should be 'fp32', 'bf16', 'fp16' or 'half'"),
        (["--backbone", "ViT-B-61"], "unknown backbone 'ViT-B-61:random'."),
        (["--backbone", "clip-emoji", "--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["skip.dept=3"], "unknown key 'skip.dept'. Did you mean 'depth'?"),
        (["skipp"], "unknown method 'skipp'. Did you mean 'skip'?"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    assert error_line("speed", *words, "--results", str(tmp_path)).startswith(f"error: {message}")

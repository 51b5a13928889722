"""What is measured: rows of methods, ways to compute, and the experiment file that names them."""

from dataclasses import fields, replace

import pytest

from harness.clip.speedups import NO_SPEEDUPS, Speedups
from harness.errors import UserError
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import method_class, method_names
from harness.experiment.settings import parse_overrides, read_yaml, validate
from harness.reference.speed.spec import Row, Setting, SpeedSpec, choose_rows, settings_of, vary
from tests.harness.reference.speed.specs import spec_of


def test_a_setting_differs_from_on_in_one_speed_up() -> None:
    off, on, *without = settings_of(Row(method="coop"), each=True)
    assert off == Setting("off", NO_SPEEDUPS, cached=False, cached_texts=False, texts_once=False)
    assert on == Setting("on", Speedups(), cached=True, cached_texts=True, texts_once=True)
    switches = [item.name for item in fields(Speedups)]
    assert [setting.name for setting in without] == [
        f"on without {name}" for name in (*switches, "cache", "texts_once")
    ]
    for name, setting in zip(switches, without, strict=False):
        changed = replace(on.speedups, **{name: getattr(NO_SPEEDUPS, name)})
        assert setting == replace(on, name=setting.name, speedups=changed)
    assert without[-2] == replace(on, name="on without cache", cached=False, cached_texts=False)
    assert without[-1] == replace(on, name="on without texts_once", texts_once=False)
    assert settings_of(Row(method="coop"), each=False) == [off, on]


def test_off_is_cached_where_the_reference_is() -> None:
    assert settings_of(Row(method="skip", reference_caches=True), each=False)[0].cached
    rows = read_yaml(EXPERIMENTS / "speed.yaml")["rows"]
    on_features = ["linear_probe", "lp_plus_plus", "zs_lp", "clap", "tip_adapter", "gda", "prolip"]
    assert [row["method"] for row in rows if row.get("reference_caches")] == ["skip", *on_features]


def test_off_encodes_texts_once_where_the_reference_does() -> None:
    off = settings_of(Row(method="clip_adapter", reference_texts_once=True), each=False)[0]
    assert (off.cached, off.cached_texts, off.texts_once) == (False, True, True)
    rows = read_yaml(EXPERIMENTS / "speed.yaml")["rows"]
    assert [row["method"] for row in rows if row.get("reference_texts_once")] == [
        "zeroshot",
        "clip_adapter",
        "vpt",
        "taskres",
        "tip_adapter_f",
    ]


# A backbone without recipes of its own.
OTHER = "ViT-B-16"
ASKED = (
    Row(method="coop", options={"n_ctx": 4, "ctx_init": None}),
    Row(method="coop", options={"n_ctx": 8, "ctx_init": None}),
    Row(method="skip"),
)


def asked() -> SpeedSpec:
    return spec_of(*ASKED, backbone=OTHER)


def titles(spec: SpeedSpec) -> list[str]:
    return [row.title for row in spec.rows]


def test_rows_are_those_of_the_methods_asked_for() -> None:
    spec = asked()
    assert titles(choose_rows(spec, [], {})) == ["coop n_ctx=4", "coop n_ctx=8", "skip"]
    assert titles(choose_rows(spec, ["skip"], {})) == ["skip"]
    # Of methods without a row, one with their defaults.
    assert titles(choose_rows(spec, ["maple", "skip"], {})) == ["skip", "maple"]
    (maple,) = choose_rows(spec, ["maple"], {}).rows
    assert (maple.method, maple.recipe, maple.options["depth"]) == ("maple", "official", 9)


def test_the_recipe_of_the_backbone_is_measured_as_bench_runs_it() -> None:
    spec = validate(SpeedSpec, {**read_yaml(EXPERIMENTS / "speed.yaml"), "backbone": "clip-emoji"}, "")
    rows = {row.method: row for row in choose_rows(spec, [], {}).rows}
    assert len(rows) == len(choose_rows(spec, [], {}).rows) == len(method_names())
    for name, row in rows.items():
        experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": [name], "backbone": "clip-emoji"})
        (run, *_) = expand(experiment)
        assert row.recipe == run.recipe
        assert row.all_options() == method_class(name).Config(**run.options).model_dump()
        if run.recipe == "clip-emoji":
            # Without a size a batch is an epoch.
            size = run.train.batch_size or spec.classes * spec.shots
            assert (row.batch_size, row.cache_batch_size) == (size, run.train.cache_batch_size)
    # What is asked for comes before the recipe.
    (skip,) = choose_rows(spec, ["skip"], parse_overrides(["skip.depth=2"]), recipe_batches=False).rows
    assert (skip.options["depth"], skip.options["class_ratio"], skip.batch_size) == (2, 0.5, None)


def test_options_are_changed_in_all_rows_of_their_method_only() -> None:
    spec = choose_rows(
        spec_of(*ASKED, backbone=OTHER), [], parse_overrides(["coop.class_specific=true", "skip.depth=2"])
    )
    assert titles(spec) == [
        "coop n_ctx=4 class_specific=True",
        "coop n_ctx=8 class_specific=True",
        "skip depth=2",
    ]
    # Several values make several rows.
    assert titles(choose_rows(asked(), ["skip"], parse_overrides(["skip.depth=0..12..6"]))) == [
        "skip depth=0",
        "skip",
        "skip depth=12",
    ]
    # Rows that have become the same are one.
    assert titles(choose_rows(asked(), [], parse_overrides(["coop.n_ctx=2"]))) == [
        "coop n_ctx=2",
        "skip",
    ]


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
        choose_rows(asked(), methods, parse_overrides([override]))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_several_values_of_a_size_make_several_specs() -> None:
    content = read_yaml(EXPERIMENTS / "speed.yaml")
    specs = vary(content, {"precision": "fp32,bf16", "classes": "8..10..2", "backbone": "ViT-B-16,ViT-B-32"})
    assert [(spec.precision, spec.classes, spec.backbone) for spec in specs] == [
        (precision, classes, backbone)
        for precision in ("fp32", "bf16")
        for classes in (8, 10)
        for backbone in ("ViT-B-16", "ViT-B-32")
    ]
    with pytest.raises(UserError, match="precision='fp8'"):
        vary(content, {"precision": "fp32,fp8"})


@pytest.mark.parametrize("override", ["skip=5", "skip="])
def test_a_section_of_the_wrong_shape_is_refused_in_one_line(override: str) -> None:
    with pytest.raises(UserError, match="skip"):
        choose_rows(asked(), ["skip"], parse_overrides([override]))


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

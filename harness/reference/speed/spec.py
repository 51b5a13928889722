"""What the benchmark of the speed-ups measures: which methods, of which sizes, computed in which ways."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic import Field, model_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.clip.speedups import Speedups
from harness.errors import UserError
from harness.experiment.axes import Kind, Word, kind_at, points, read_axes
from harness.experiment.grid import Experiment, setting_kind
from harness.experiment.recipes import OFFICIAL, choose_variant, recipe_settings
from harness.experiment.registry import check_method, method_class, method_names
from harness.experiment.settings import Section, Settings, merge, nest, validate
from harness.experiment.training_spec import Precision, TrainSpec

OFF, ON = "off", "on"


class Row(Section):
    """A method to measure.

    In YAML its options are written under the method's name, as everywhere.
    """

    method: str
    options: Settings = Field({}, description="of the method")
    batch_size: int | None = Field(None, ge=1, description="images per step, if this method has its own")
    cache_batch_size: int | None = Field(None, ge=1, description="images per caching batch, likewise")
    reference_caches: bool = Field(False, description="the official code trains on cached tokens, too")
    reference_texts_once: bool = Field(False, description="the official code encodes the texts once, too")
    recipe: str | None = Field(None, description="the recipe that options and batch size are taken from")
    teacher_templates: str | None = Field(None, description="the recipe's data.teacher_templates; null: the method's")

    @model_validator(mode="before")
    @classmethod
    def _options_under_method_name(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("method") in value:
            value = dict(value)
            value["options"] = value.pop(value["method"]) or {}
        return value

    @property
    def title(self) -> str:
        """The method and its options that differ from the default, such as `coop n_ctx=4`."""
        config = method_class(self.method).Config(**self.options)
        changed = config.model_dump(exclude_defaults=True)
        return " ".join([self.method, *(f"{key}={value}" for key, value in changed.items())])

    def all_options(self) -> Settings:
        """Every option of the method with the value that is measured."""
        config = method_class(self.method).Config(**self.options)
        return config.model_dump()


class SpeedSpec(Section):
    """What to measure: `experiments/speed.yaml`."""

    backbone: Word = "ViT-B-16"
    classes: int = Field(50, ge=2)
    batch_size: int = Field(4, ge=1)
    eval_batch_size: int = Field(8, ge=1)
    cache_batch_size: int = Field(8, ge=1)
    shots: int = Field(16, ge=1, description="training images per class, of which an epoch consists")
    precision: Precision = "fp32"
    pairs: int = Field(5, ge=2, description="fewest pairs of timings, off beside on; more while they disagree")
    each: bool = Field(True, description="measure also without each of the speed-ups, not only without all")
    class_names: tuple[str, ...] = Field(min_length=1, description="data sets whose class names are taken")
    rows: tuple[Row, ...] = Field(min_length=1)


def choose_rows(spec: SpeedSpec, methods: list[str], overrides: Settings, recipe_batches: bool = True) -> SpeedSpec:
    """The rows of some methods, with the settings of their recipes and changed options.

    Where the backbone has a recipe of its own for a method, that recipe is measured instead of the method's rows, which
    describe the official settings. Otherwise the rows are measured, on top of the official recipe.

    Args:
        spec: contains the rows; a method without a row gets one.
        methods: their names; all methods of the spec if it is empty.
        overrides: options by method, such as {"coop": {"n_ctx": 8}}; each combination of their values makes a row.
        recipe_batches: whether batch sizes are those of the backbone's own recipe; otherwise they are the spec's.

    Raises:
        UserError: an unknown method or option.
    """
    for name in methods:
        check_method(name)
    single = [key for key, options in overrides.items() if not isinstance(options, Mapping)]
    if single:
        raise UserError(
            f"{single[0]}={overrides[single[0]]!r}: '{single[0]}' is a method, set its options, such as skip.depth=4"
        )
    strange = [key for key in overrides if key not in (methods or method_names())]
    if strange:
        raise UserError(f"unknown key '{strange[0]}': only options of the methods can be changed, such as skip.depth=4")
    rows = [row for row in spec.rows if not methods or row.method in methods]
    rows += [Row(method=name) for name in methods if name not in {row.method for row in rows}]
    changed = [
        row.model_copy(update={"options": merge(row.options, options)})
        for row in (with_recipe(row, spec, recipe_batches) for row in rows)
        for options in option_points(row.method, overrides, spec.backbone)
    ]
    for row in changed:
        validate(method_class(row.method).Config, row.options, f"{row.method}.")
    distinct = {row.title: row for row in changed}
    return spec.model_copy(update={"rows": tuple(distinct.values())})


def with_recipe(row: Row, spec: SpeedSpec, recipe_batches: bool) -> Row:
    """A row with the options, and with those of the backbone's own recipe the batch sizes, that `bench` would use."""
    variant = choose_variant(None, spec.backbone, row.method)
    usual = Experiment()
    recipe = recipe_settings(row.method, variant, usual.protocol, usual.datasets[0], spec.shots)
    options = recipe.get(row.method) or {}
    teacher = (recipe.get("data") or {}).get("teacher_templates")
    if variant == OFFICIAL:
        own = {"options": {**options, **row.options}, "recipe": variant, "teacher_templates": teacher}
        return row.model_copy(update=own)
    changes: dict[str, Any] = {"options": options, "recipe": variant, "teacher_templates": teacher}
    if recipe_batches:
        train = validate(TrainSpec, recipe.get("train") or {}, "train.")
        size = train.batch_size or spec.classes * spec.shots
        changes |= {"batch_size": size, "cache_batch_size": train.cache_batch_size}
    return row.model_copy(update=changes)


def option_points(method: str, overrides: Settings, backbone: str) -> Iterator[Settings]:
    """Every combination of the values of one method's options."""
    axes = read_axes(
        {method: overrides.get(method, {})},
        lambda key: setting_kind(method, key) or Kind.WHOLE,
        lambda: blocks_of(parse_backbone(backbone)),
    )
    return (nest(point).get(method, {}) for point in points(axes))


def vary(settings: Settings, changes: Settings) -> list[SpeedSpec]:
    """What to measure, with changes; each combination of their values makes a spec.

    Raises:
        UserError: an unknown key, or a value that it cannot have.
    """
    axes = read_axes(changes, lambda key: kind_at(SpeedSpec, key.split(".")))
    return [validate(SpeedSpec, {**settings, **changes, **point}, "") for point in points(axes)]


@dataclass(frozen=True)
class Setting:
    """One way to compute.

    Attributes:
        name: `off`, `on`, or `on without` one speed-up.
        speedups: of the towers.
        cached: frozen stages of images run once, before the steps.
        cached_texts: frozen stages of texts run once, when the classes are set.
        texts_once: inference encodes the texts once per list of classes, not once per batch.
    """

    name: str
    speedups: Speedups
    cached: bool
    cached_texts: bool
    texts_once: bool


def settings_of(row: Row, each: bool) -> list[Setting]:
    """Off, on and, if `each` is asked for, on without each single speed-up."""
    plain, fast = Speedups(), Speedups()
    plain.switch_off()
    on = Setting(ON, fast, cached=True, cached_texts=True, texts_once=True)
    without = [
        replace(on, name=f"on without {item.name}", speedups=replace(fast, **{item.name: getattr(plain, item.name)}))
        for item in fields(Speedups)
    ]
    without.append(replace(on, name="on without cache", cached=False, cached_texts=False))
    without.append(replace(on, name="on without texts_once", texts_once=False))
    keeps_texts = row.reference_caches or row.reference_texts_once
    off = Setting(OFF, plain, row.reference_caches, keeps_texts, row.reference_texts_once)
    return [off, on, *(without if each else [])]

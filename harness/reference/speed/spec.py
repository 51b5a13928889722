"""What the benchmark of the speed-ups measures: which methods, of which sizes, computed in which ways."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic import Field, model_validator

from harness.clip.backbones import blocks_of, parse_backbone
from harness.clip.speedups import Speedups
from harness.errors import UserError
from harness.experiment.axes import Kind, Word, kind_at, points, read_axes
from harness.experiment.grid import setting_kind
from harness.experiment.registry import check_method, method_class, method_names
from harness.experiment.settings import Section, Settings, nest, validate
from harness.experiment.spec import Precision

OFF, ON = "off", "on"


class Row(Section):
    """A method to measure.

    In YAML its options are written under the method's name, as everywhere.
    """

    method: str
    options: Settings = Field({}, description="of the method")
    batch_size: int | None = Field(None, ge=1, description="images per step, if this method has its own")
    reference_caches: bool = Field(False, description="the official code trains on cached tokens, too")

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


class SpeedSpec(Section):
    """What to measure: `experiments/speed.yaml`."""

    backbone: Word = "ViT-B-16"
    classes: int = Field(50, ge=2)
    batch_size: int = Field(4, ge=1)
    eval_batch_size: int = Field(8, ge=1)
    cache_batch_size: int = Field(8, ge=1)
    precision: Precision = "fp32"
    each: bool = Field(True, description="measure also without each of the speed-ups, not only without all")
    class_names: tuple[str, ...] = Field(min_length=1, description="data sets whose class names are taken")
    rows: tuple[Row, ...] = Field(min_length=1)


def choose_rows(spec: SpeedSpec, methods: list[str], overrides: Settings) -> SpeedSpec:
    """The rows of some methods, with changed options.

    Args:
        spec: contains the rows; a method without a row gets one with its default options.
        methods: their names; all methods of the spec if it is empty.
        overrides: options by method, such as {"coop": {"n_ctx": 8}}; each combination of their values makes a row.

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
        row.model_copy(update={"options": {**row.options, **options}})
        for row in rows
        for options in option_points(row.method, overrides, spec.backbone)
    ]
    for row in changed:
        validate(method_class(row.method).Config, row.options, f"{row.method}.")
    distinct = {row.title: row for row in changed}
    return spec.model_copy(update={"rows": tuple(distinct.values())})


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
        cached: frozen stages run once: those of images before the steps, those of texts when the classes are set.
        texts_once: inference encodes the texts once per list of classes, not once per batch.
    """

    name: str
    speedups: Speedups
    cached: bool
    texts_once: bool


def settings_of(row: Row, each: bool) -> list[Setting]:
    """Off, on and, if `each` is asked for, on without each single speed-up."""
    plain, fast = Speedups(), Speedups()
    plain.switch_off()
    on = Setting(ON, fast, cached=True, texts_once=True)
    without = [
        replace(on, name=f"on without {item.name}", speedups=replace(fast, **{item.name: getattr(plain, item.name)}))
        for item in fields(Speedups)
    ]
    without.append(replace(on, name="on without cache", cached=False))
    without.append(replace(on, name="on without texts_once", texts_once=False))
    off = Setting(OFF, plain, cached=row.reference_caches, texts_once=False)
    return [off, on, *(without if each else [])]

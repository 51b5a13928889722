"""One run: its layers of settings become a spec, which is checked against method, backbone and protocol."""

import json
from collections.abc import Iterable
from functools import cache

from harness.clip.backbones import blocks_of, configuration_of, parse_backbone
from harness.clip.tower_parts import refuse_missing_parts
from harness.data.datasets import find_dataset
from harness.data.fewshot import class_subset
from harness.errors import UserError
from harness.experiment.axes import Kind, kind_at, points, read_axes
from harness.experiment.layers import COMMAND_LINE, Layer, PlannedRun, merged
from harness.experiment.registry import check_method, method_class
from harness.experiment.settings import Settings, merge, nest
from harness.experiment.spec import RunSpec, parse_run_spec
from harness.experiment.templates import check_templates


def setting_kind(method: str, key: str) -> Kind | None:
    """The kind of the setting with a dotted key in runs of a method; None for an unknown setting."""
    section, _, option = key.partition(".")
    if section == method:
        return kind_at(method_class(method).Config, option.split("."))
    return kind_at(RunSpec, key.split("."))


def plan_run(layers: list[Layer], group: Layer) -> PlannedRun:
    """A validated run.

    Args:
        layers: its settings, `evaluate` among them.
        group: the W&B group, if the layers give none.

    Raises:
        UserError: settings that no run can take.
    """
    settings = merged(layers)
    method = check_method(str(settings.get("method", "")))
    dataset = settings["data"]["dataset"]
    settings["evaluate"] = [{"dataset": dataset, **evaluation} for evaluation in settings["evaluate"]]
    if not method_class(method).trains:
        layers = [*layers, Layer(f"method {method}: nothing trains", {"train": {"epochs": 0}})]
        settings = merge(settings, layers[-1].settings)
    spec = parse_run_spec(settings)
    if spec.wandb.group is None:
        layers = [*layers, group]
        spec = spec.model_copy(update={"wandb": spec.wandb.model_copy(update=group.settings["wandb"])})
    check_fits(spec)
    return PlannedRun(spec, tuple(layers))


def vary(settings: Settings, overrides: Settings, file: str = "of the run") -> list[PlannedRun]:
    """One run as a file describes it, changed by overrides; every combination of their values makes a run.

    Args:
        settings: content of the file.
        overrides: from the command line.
        file: what the file is called.

    Raises:
        UserError: settings that no run can take.
    """
    whole = merge(settings, overrides)
    method = check_method(str(whole.get("method", "")))
    backbone = str(whole.get("backbone", RunSpec.model_fields["backbone"].default))
    axes = read_axes(overrides, lambda key: setting_kind(method, key), lambda: blocks_of(parse_backbone(backbone)))
    planned = []
    for point in points(axes):
        changes = merge(overrides, nest(point))
        layers = (Layer(f"file {file}", settings), Layer(COMMAND_LINE, changes))
        planned.append(PlannedRun(parse_run_spec(merged(layers)), layers))
    for item in planned:
        check_fits(item.spec)
    return once_each(planned)


def once_each(planned: Iterable[PlannedRun]) -> list[PlannedRun]:
    """The runs with different ids, the first of each."""
    found: dict[str, PlannedRun] = {}
    for item in planned:
        found.setdefault(item.spec.id, item)
    return list(found.values())


def check_fits(spec: RunSpec) -> None:
    """Check a spec against its backbone and class subsets, as far as that needs neither weights nor pictures.

    Raises:
        UserError: an unknown backbone, data set or class subset, an option beyond the backbone, or prompts that the
            method cannot use.
    """
    for evaluation in spec.evaluate:
        find_dataset(evaluation.dataset)
        class_subset(2**16, evaluation.classes)
    class_subset(2**16, spec.data.classes)
    check_options(spec.method, json.dumps(spec.options, sort_keys=True), spec.backbone)
    check_templates(spec)


@cache
def check_options(method: str, options: str, backbone: str) -> None:
    """Check a method and its options, in JSON, against the parts of the backbone and its number of blocks.

    These are the same for all seeds.
    """
    found = configuration_of(parse_backbone(backbone))
    if found is not None:
        cls = method_class(method)
        config = cls.Config(**json.loads(options))
        refuse_missing_parts(method, cls.needs(config), found.parts, backbone)
        try:
            cls.check(config, found.vision_cfg.blocks if cls.counts_image_blocks else found.blocks)
        except ValueError as error:
            raise UserError(f"{method}.{error} (backbone {backbone})") from None

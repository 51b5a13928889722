"""Reads a sweep from its file, with changes from the command line."""

from collections.abc import Mapping
from pathlib import Path

from harness.clip.backbones import blocks_of, parse_backbone
from harness.errors import UserError, nearest
from harness.experiment.axes import read_axes
from harness.experiment.grid import setting_kind
from harness.experiment.protocols import find_protocol
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.registry import check_method
from harness.experiment.settings import Settings, by_sections, flat_settings, merge, nest, read_yaml, validate
from harness.machine.masking import HIDDEN
from harness.tune.address import remember_password
from harness.tune.space import read_space
from harness.tune.sweep import Sweep

SWEEPS = EXPERIMENTS / "sweeps"


def load_sweep(name: str, changes: Settings, schedule: Settings | None = None) -> Sweep:
    """A sweep by its name in experiments/sweeps/ or by the path of its file, with changes on top.

    Raises:
        UserError: no such sweep, or something in it that is wrong, with the name of its file.
    """
    known = sorted(path.stem for path in SWEEPS.glob("*.yaml"))
    path = SWEEPS / f"{name}.yaml" if name in known else Path(name)
    if name not in known and path.suffix not in (".yaml", ".yml"):
        raise UserError(
            f"no sweep '{name}' in experiments/sweeps/.{nearest(name, known)} A file of your own "
            "is named by its path: `skipbench sweep my_sweep.yaml` (docs/sweeps.md)"
        )
    content = read_yaml(path)
    for storage in (content.get("storage"), changes.get("storage")):
        remember_password(str(storage))
    try:
        return read_sweep({**content, "name": content.get("name") or path.stem}, changes, schedule or {})
    except UserError as error:
        raise UserError(f"sweep '{path}': {error}") from None


def read_sweep(content: Settings, changes: Settings, schedule: Settings) -> Sweep:
    """A sweep from what its file holds, with changes and settings of its schedule on top.

    Raises:
        UserError: something in it that is wrong.
    """
    for key in ("settings", "schedule"):
        if not isinstance(content.get(key) or {}, Mapping):
            raise UserError(f"{key}={content[key]!r}: it is a section, such as {{train: {{epochs: 3}}}}")
    scheduled = merge(content.get("schedule") or {}, schedule)
    for key, value in flat_settings(scheduled).items():
        if HIDDEN in str(value):
            raise UserError(f"schedule.{key}: its value is masked, since it is secret: give it anew")
    of_runs = by_sections(changes.get("settings", {}))
    # A new space, new objectives or new limits replace the old ones as a whole.
    settings = {**content, **changes, "settings": merge(by_sections(content.get("settings") or {}), of_runs)}
    settings["schedule"] = scheduled
    method = check_method(str(settings["method"])) if "method" in settings else ""
    if method and isinstance(settings.get("space"), Mapping):
        settings = search_over(settings, of_runs, method)
    sweep: Sweep = validate(Sweep, settings, "")
    find_protocol(sweep.protocol)
    check_points(sweep)
    return sweep


def check_points(sweep: Sweep) -> None:
    """Raise a UserError if there is a bound or a choice in the space that no run can take, naming its key."""
    sweep.specs({})
    for key in sweep.space:
        if key.startswith(("runtime.", "tracking.", "wandb.")):
            raise UserError(f"space: '{key}' changes no result: set it for all runs, under `settings`")
    for key, point in sweep.outermost_points():
        try:
            sweep.specs(sweep.needed(point))
        except UserError as error:
            raise UserError(f"space: '{key}': {error}") from None


def search_over(settings: Settings, changes: Settings, method: str) -> Settings:
    """A sweep whose space is read and follows changes of its runs' settings.

    A setting that is changed to several values is searched over; one that is changed to a single value no longer is.

    Raises:
        UserError: the file gives several values to a setting outside its space.
    """
    backbone = str(settings.get("backbone", Sweep.model_fields["backbone"].default))
    space, fixed = dict(settings["space"]), flat_settings(settings["settings"])
    axes = read_axes(
        settings["settings"], lambda key: setting_kind(method, key), lambda: blocks_of(parse_backbone(backbone))
    )
    changed = flat_settings(changes)
    for key, values in axes.items():
        if len(values) > 1 and key not in changed:
            raise UserError(f"settings: '{key}' has several values: a sweep searches over what is in its `space`")
        if len(values) > 1:
            space[key] = fixed.pop(key)
        elif key in changed:
            space.pop(key, None)
    return {**settings, "settings": nest(fixed), "space": read_space(space, method, backbone)}


def split_changes(settings: Settings) -> Settings:
    """KEY=VALUE settings as changes of a sweep: keys of the sweep itself, and settings of its runs under `settings`."""
    own = set(Sweep.model_fields) - {"method", "settings", "space", "name", "schedule"}
    changes = {key: value for key, value in settings.items() if key in own}
    of_runs = {key: value for key, value in settings.items() if key not in own}
    return {**changes, **({"settings": of_runs} if of_runs else {})}

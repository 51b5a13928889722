"""`skipbench list backbones`: every model name of open_clip, and whether it works."""

from click.testing import CliRunner

from harness.cli.names import list_names
from harness.clip.backbones import model_names, supported_models


def test_every_name_works_or_is_refused_with_a_reason() -> None:
    done = CliRunner().invoke(list_names, ["backbones"])
    assert done.exit_code == 0, done.output
    *lines, last = done.output.splitlines()
    assert [line.split()[0] for line in lines] == model_names()
    works = [line.split()[0] for line in lines if line.endswith("  works")]
    assert works == list(supported_models())
    assert all("  refused: it" in line for line in lines if line.split()[0] not in works)
    names, refused = len(model_names()), len(model_names()) - len(works)
    assert last == f"{len(works)} of open_clip's {names} names work, {refused} are refused"

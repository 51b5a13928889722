"""Names of the user's own data: prefixes, paths with colons and commas, configurations and options."""

from pathlib import Path

import pytest

from harness.data.own_names import is_own, parse_hub_name, split_names
from harness.errors import UserError


def test_the_parts_of_a_name_of_the_hub() -> None:
    name = parse_hub_name("hf:someone/pets:fine:label=fine_label:image=img")
    assert (name.place, name.path, name.config) == ("someone/pets", None, "fine")
    assert (name.of("label"), name.of("image"), name.of("train")) == ("fine_label", "img", None)
    assert parse_hub_name("hf:cifar10").place == "cifar10"


def test_the_parts_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a:b=c"
    folder.mkdir()
    name = parse_hub_name(f"hf:{folder}:fine:label=x")
    assert (name.path, name.config, name.options) == (folder, "fine", (("label", "x"),))
    monkeypatch.chdir(tmp_path)
    assert parse_hub_name("hf:./a:b=c").path == folder
    assert parse_hub_name("wds:a:b=c").path == folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:", "'hf:' names no data set: give hf:OWNER/NAME of the hub, or hf:/path of a folder"),
        ("wds:", "'wds:' names no folder: give wds:/path"),
        ("hf:a/b/c", "'hf:a/b/c' names no data set"),
        ("hf:a b", "'hf:a b' names no data set"),
        ("hf:a/b:one:two", "has 'two' where an option belongs: write hf:/path:CONFIGURATION:label=column"),
        ("hf:a/b:lable=x", "unknown option 'lable'"),
        ("hf:a/b:lable=x", "Did you mean 'label'?"),
        ("hf:a/b:label=", "gives label no value"),
        ("hf:a/b:label=x:label=y", "gives label twice"),
    ],
)
def test_names_that_cannot_be(text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_hub_name(text)
    assert expected in str(caught.value)


def test_a_list_of_names(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    folder = f"hf:{tmp_path}/a,b:label=x"
    assert split_names(f"dtd,{folder},hf:some/set:fine,emoji") == ["dtd", folder, "hf:some/set:fine", "emoji"]
    assert [is_own(name) for name in ("dtd", "hf:a/b", "wds:/a", "folder:a")] == [False, True, True, True]

"""Addresses of storages: any path is a file of SQLite, and mistakes are told without the password."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from harness.machine import masking
from harness.machine.masking import masked
from harness.tune.address import check_address, database_file, database_url, remember_password
from harness.tune.storage import open_storage

NAMES = ("a %25b", "what?x=1", "a#b", "it's", 'a"b', "ü→🙂", "{x}", "a@b:c", "[red]", "a&b;c=d+e", "%2F..")


@pytest.mark.parametrize("name", NAMES)
def test_the_database_lies_where_the_path_says(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    url = database_url(folder / "optuna.db")
    assert make_url(url).database == str(folder / "optuna.db")
    assert database_file(url) == folder / "optuna.db"
    if name in NAMES[:3] or "{" in name:
        open_storage(url)
        assert [path.name for path in tmp_path.rglob("*")] == [name, "optuna.db"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgres://me:hunter@host/x", "Did you mean 'postgresql'"),
        ("postgresql+psycopg://me:hun@ter@host/x", "write @ as %40"),
        ("postgresql://me:hun/t@er@host/x", "write @ as %40"),
        ("postgresql://me:***@host/x", "its password is masked"),
        ("postgresql://me:hunter@host:port/x", "no URL of a database"),
        ("postgresql", "no URL of a database"),
        ("results/optuna.db", "use sqlite:///path"),
        ("journal:", "the path of a file"),
        ("", "use sqlite:///path"),
    ],
)
def test_what_is_no_address_is_told_without_the_password(address: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as told:
        check_address(address)
    assert "hunter" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:////a/b.db",
        "postgresql+psycopg://me@h/x",
        "mysql://me:p%40ss@h/x",
        "journal:/a@b.log",
        "journal:///a.log",
    ],
)
def test_addresses(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize("password", ["hunter", "hun ter", "hun%40ter", "hun:ter", "hun@ter"])
def test_a_password_is_known_wherever_it_is_told(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_remembered", set())
    remember_password(f"postgresql://me:{password}@host/x")
    assert password not in masked(f"storage='postgresql://me:{password}@host/x': password {password} is wrong")
    assert masked("user me at host") == "user me at host"


def test_braces_in_a_url_are_no_template(tmp_path: Path) -> None:
    open_storage(f"sqlite:///{tmp_path}/{{x}}.db")
    assert [path.name for path in tmp_path.iterdir()] == ["{x}.db"]

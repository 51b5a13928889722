"""The address of a study's storage: a file or a database, whose password stays secret."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from harness.errors import nearest
from harness.machine.masking import HIDDEN, remember_secret

JOURNAL = "journal"
DATABASES = ("postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql")
FORMS = "sqlite:///path, postgresql://host/name, mysql://host/name or journal:/path"


def remember_password(address: str) -> None:
    """Keep what stands before the host of a URL out of all that is printed and written."""
    _, _, rest = address.partition("://")
    user, at, _ = rest.rpartition("@")
    if at:
        name, colon, password = user.partition(":")
        remember_secret(password if colon else name)


def check_address(address: str) -> None:
    """Raise a ValueError, which does not tell the password, for what is no address of a storage."""
    kind = address.partition(":")[0]
    if HIDDEN in address:
        raise ValueError("its password is masked: give the whole URL with --storage or in OPTUNA_STORAGE")
    if kind == JOURNAL:
        if not journal_path(address).name:
            raise ValueError("a journal needs the path of a file, such as journal:/shared/skip.log")
        return
    if kind.partition("+")[0] not in DATABASES:
        raise ValueError(f"use {FORMS}.{nearest(kind, [*DATABASES, JOURNAL])}")
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise ValueError(f"this is no URL of a database: use {FORMS}") from None
    if "@" in (url.host or "") or ("@" in (url.database or "") and kind.partition("+")[0] != "sqlite"):
        raise ValueError("in a password, write @ as %40, : as %3A and / as %2F")


def journal_path(address: str) -> Path:
    """The file of a journal."""
    return Path(address.removeprefix(f"{JOURNAL}:").removeprefix("//"))


def database_url(path: Path) -> str:
    """The URL of an SQLite file, whatever characters its path holds."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def database_file(address: str) -> Path | None:
    """The file of an SQLite database; None for other storages."""
    if not address.startswith("sqlite"):
        return None
    path = make_url(address).database
    return Path(path) if path else None

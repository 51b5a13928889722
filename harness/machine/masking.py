"""Secrets stay out of what is printed and written: passwords in URLs, values of keys and tokens."""

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"
# A shorter text is found in too many words that are no secret.
SHORTEST = 4
SECRET_NAME = r"(?:passw(?:or)?d|passphrase|secret|token|credentials?|(?:api|access|secret|private)[_-]?key)"
# Everything before the last @ of a word: a password may hold @, : and / itself.
USER_OF_URL = re.compile(r"([A-Za-z][\w+.-]*://)(?!/)\S*@")
NAMED = re.compile(rf"(?i)({SECRET_NAME}['\"]?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&,;'\")\]}}]+)")
SECRET_KEY = re.compile(rf"(?i)(?:.*[_.-])?{SECRET_NAME}")
SECRET_VARIABLE = re.compile(r"(?i).*(?:key|token|passw(?:or)?d|secret)s?")

_remembered: set[str] = set()


def remember_secret(text: str) -> None:
    """Have `masked` hide a text wherever it stands, also where it is quoted or a part of it is told."""
    pieces = {text, unquote(text), *re.split(r"[@/:?#\s]", text), *re.split(r"[@/:?#\s]", unquote(text))}
    _remembered.update(form for piece in pieces for form in (piece, repr(piece)[1:-1]) if len(piece) >= SHORTEST)


def secret_variables() -> set[str]:
    """Values of the environment variables that by their names are secret."""
    # Only values that matter are looked up: this is asked for every line that is printed.
    values = (os.environ[name] for name in os.environ if is_secret(name))
    return {value for value in values if len(value) > SHORTEST}


@cache
def is_secret(name: str) -> bool:
    """Whether a variable of the environment is secret by its name."""
    return SECRET_VARIABLE.fullmatch(name) is not None


def masked(text: str) -> str:
    """A text with *** in place of every secret in it.

    Secret are the user and password of a URL, what follows a name such as `password=` or `token:`, values of
    environment variables such as WANDB_API_KEY, and what was given to `remember_secret`.
    """
    for secret in sorted(_remembered | secret_variables(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return NAMED.sub(rf"\1{HIDDEN}", USER_OF_URL.sub(rf"\1{HIDDEN}@", text))


def masked_settings(value: Any) -> Any:
    """Settings as plain data with *** in place of every secret, by the names of keys too."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if isinstance(item, str) and SECRET_KEY.fullmatch(str(key)) else masked_settings(item)
            for key, item in value.items()
        }
    if isinstance(value, str):
        return masked(value)
    return [masked_settings(item) for item in value] if isinstance(value, Iterable) else value

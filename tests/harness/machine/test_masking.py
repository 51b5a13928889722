"""No secret is printed or written: URLs with users, named values, environment variables, what is remembered."""

import logging
from pathlib import Path

import pytest

from harness.machine import masking
from harness.machine.masking import masked, masked_settings, remember_secret
from harness.results.failure import FailedAttempt, RunFailure
from harness.results.log import log, logging_to


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_remembered", set())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at 'postgresql+psycopg://me:hunter@host:5/x'", "at 'postgresql+psycopg://***@host:5/x'"),
        ("mysql://me:hun@ter@host/x failed", "mysql://***@host/x failed"),
        ("a://u:hun:ter@h and b://u:hun/ter@h,", "a://***@h and b://***@h,"),
        ("https://hunter@host", "https://***@host"),
        ("x://u:%40hunter%2F@h", "x://***@h"),
        ("ray://:hunter@h:1", "ray://***@h:1"),
        ("host/x?user=me&password=hunter&ssl=1", "host/x?user=me&password=***&ssl=1"),
        ("{'api_key': 'hunter', 'a': 1}", "{'api_key': ***, 'a': 1}"),
        ("redis-password = hunter", "redis-password = ***"),
        ("TOKEN: hunter", "TOKEN: ***"),
    ],
)
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert "hunter" not in masked(f"{text}; {text}")


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me@work/optuna.db",
        "coop.class_token_position=end",
        "unknown key 'a'. Did you mean: b@c",
        "https://host/page?a=1",
        "77 tokens: 1 too many",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert masked(text) == text


def test_what_is_remembered_is_hidden_in_parts_and_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    remember_secret("hunter%40two\\x y")
    for text in ("hunter@two\\x y", repr("hunter@two\\x y"), "could not resolve 'hunter'", "hunter%40two"):
        assert "hunter" not in masked(text)
    monkeypatch.setenv("WANDB_API_KEY", "f00dcafe" * 5)
    assert masked("the key is " + "f00dcafe" * 5) == "the key is ***"


def test_settings_are_hidden_by_their_keys() -> None:
    settings = {
        "slurm": {"setup": ["export A_TOKEN=hunter"], "auth": {"wandb_api_key": "hunter"}},
        "n": 3,
        "token": None,
    }
    assert masked_settings(settings) == {
        "slurm": {"setup": ["export A_TOKEN=***"], "auth": {"wandb_api_key": "***"}},
        "n": 3,
        "token": None,
    }


def test_logs_and_failures_hold_no_secrets(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log.txt"):
        log.info("at %s", "a://me:hunter@h")
        try:
            raise ValueError("a://me:hunter@h")
        except ValueError:
            log.exception("failed")
    logging.getLogger("skipbench").setLevel(logging.NOTSET)
    written = (tmp_path / "log.txt").read_text()
    assert "INFO at a://***@h" in written
    assert "ValueError: a://***@h" in written
    assert "hunter" not in written
    attempt = FailedAttempt(kind="error", reason="a://me:hunter@h", started=0, seconds=1)
    failure = RunFailure(reason="no a://me:hunter@h", attempts=(attempt,))
    assert "hunter" not in failure.model_dump_json()

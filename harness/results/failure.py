"""Why a run did not finish: a kind, by which the scheduler decides about retries, and one line for people."""

import signal
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from harness.errors import DivergedError, NoSpaceError, UserError, first_line
from harness.machine.masking import masked
from harness.results.claim import ClaimedError, TakenOverError

MISTAKE = "mistake"
DIVERGED = "diverged"
NO_SPACE = "no_space"
OUT_OF_MEMORY = "out_of_memory"
TIME_LIMIT = "time_limit"
KILLED = "killed"
ERROR = "error"
CLAIMED = "claimed"
TAKEN_OVER = "taken_over"
# These have causes outside the run; the others would happen again.
WORTH_A_RETRY = (OUT_OF_MEMORY, TIME_LIMIT, KILLED, ERROR)

LESS_MEMORY = "lower train.batch_size or use a device with more"


Masked = Annotated[str, AfterValidator(masked)]
"""The type of a text that is written to a file without its secrets."""


@dataclass(frozen=True)
class Failure:
    """One attempt that failed.

    Attributes:
        kind: one of the above.
        reason: one line for people.
    """

    kind: str
    reason: str

    @property
    def is_worth_a_retry(self) -> bool:
        """Whether the same run may succeed when it is tried again."""
        return self.kind in WORTH_A_RETRY


class FailedAttempt(BaseModel):
    """One attempt at a run that failed, in `failure.json`.

    Attributes:
        kind, reason: of its failure.
        started: when, seconds since the epoch.
        seconds: how long it took.
        host, device: where; None if unknown.
        epochs: that were recorded when it ended.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    reason: Masked
    started: float
    seconds: float
    host: str | None = None
    device: str | None = None
    epochs: int = 0


class RunFailure(BaseModel):
    """Why a run did not finish: the content of `failure.json`.

    Attributes:
        kind, reason: of the last attempt's failure.
        attempts: all that failed.
    """

    model_config = ConfigDict(frozen=True)

    kind: str = ERROR
    reason: Masked
    attempts: tuple[FailedAttempt, ...] = ()


def explain_exception(error: BaseException) -> Failure:
    """The failure that corresponds to an exception in a run."""
    message = first_line(error)
    if isinstance(error, TakenOverError):
        return Failure(TAKEN_OVER, message)
    if isinstance(error, ClaimedError):
        return Failure(CLAIMED, message)
    if isinstance(error, DivergedError):
        return Failure(DIVERGED, message)
    if isinstance(error, NoSpaceError):
        return Failure(NO_SPACE, message)
    if isinstance(error, UserError):
        return Failure(MISTAKE, message)
    # torch reports a full GPU by its own exception type, and full host memory by a RuntimeError.
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    ):
        return Failure(OUT_OF_MEMORY, f"memory ran out ({message}): {LESS_MEMORY}")
    return Failure(ERROR, f"{type(error).__name__}: {message}")


def explain_exit(code: int) -> Failure:
    """The failure that corresponds to the exit code of a run's process; negative codes are signals."""
    if code == -signal.SIGKILL:
        reason = f"its process was killed (SIGKILL), most often because memory ran out: {LESS_MEMORY}"
        return Failure(KILLED, reason)
    if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return Failure(KILLED, "its process was ended by SIGTERM")
    if code < 0:
        return Failure(KILLED, f"its process was ended by {signal.Signals(-code).name}")
    return Failure(KILLED, f"its process ended with exit code {code}")

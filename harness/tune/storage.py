"""Where a study is kept, and how several processes share it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import optuna
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend

from harness.errors import UserError, first_line
from harness.results.claim import ClaimedError, claimed
from harness.tune.sweep import Sweep

# In seconds: how often a worker reports that it is alive, and after how long a silent one is taken for dead.
HEARTBEAT, GRACE = 15, 90


POLL = 1.0


OPENING_ATTEMPTS = 5


def storage_of(sweep: Sweep, results: Path) -> optuna.storages.BaseStorage:
    """Where the study is kept: SQLite in the results folder, a database, or a journal file.

    Raises:
        UserError: it cannot be opened.
    """
    url = sweep.storage
    if url is None:
        folder = results / "sweeps"
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'optuna.db'}"
    # If several processes create the tables of a database at the same time, all but one fail and must try again.
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            return open_storage(url)
        except Exception as error:
            if not attempts_left:
                raise UserError(f"the study's storage '{url}' cannot be opened: {first_line(error)}") from error
            time.sleep(POLL)
    raise AssertionError


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Open the storage at a URL; see `storage_of`."""
    if url.startswith("journal:"):
        path = url.removeprefix("journal:").removeprefix("//")
        return optuna.storages.JournalStorage(JournalFileBackend(path))
    # SQLite waits for its lock; a database server may have closed a connection that was unused for long.
    arguments = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    return optuna.storages.RDBStorage(
        url,
        engine_kwargs=arguments,
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
    )


def heartbeat_recorder(study: optuna.Study, trial: optuna.Trial) -> Callable[[], None] | None:
    """A function that records one heartbeat of a trial; None if the study's storage keeps no heartbeats.

    Optuna's public heartbeat belongs to `Study.optimize`, which a sweep does not use. So this is the one place that
    reads private names of optuna.
    """
    storage = study._storage
    return partial(storage.record_heartbeat, trial._trial_id) if isinstance(storage, BaseHeartbeat) else None


@contextmanager
def heartbeat(study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """Show workers on other machines that this trial's worker is alive, if the study's storage keeps heartbeats."""
    record, ended = heartbeat_recorder(study, trial), threading.Event()
    if record is None:
        yield
        return

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            with suppress(optuna.exceptions.StorageInternalError):
                record()

    record()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def asking_alone(sweep: Sweep, results: Path) -> AbstractContextManager[None]:
    """Let one worker at a time take a trial: SQLite, unlike servers, can give one waiting trial to two workers."""
    if sweep.storage is None or sweep.storage.startswith("sqlite"):
        return file_lock(results / "sweeps" / "optuna.lock")
    return nullcontext()


@contextmanager
def preparing_alone(folder: Path) -> Iterator[None]:
    """Let one process at a time, of all machines, prepare the study in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        with suppress(ClaimedError), claimed(folder):
            yield
            return
        time.sleep(POLL / 5)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a lock that all processes on this machine see."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""Where a study is kept, and how several processes share it."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import optuna
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from harness.errors import UserError, first_line
from harness.results.claim import ClaimedError, claimed
from harness.tune.address import JOURNAL, database_file, database_url, journal_path
from harness.tune.sweep import Sweep

# In seconds: how often a worker reports that it is alive, and after how long a silent one is taken for dead.
HEARTBEAT, GRACE = 15, 90


POLL = 1.0


OPENING_ATTEMPTS = 5


ADVICE = "pip install 'skipbench[postgresql]', or the driver of another database"


Interrupted = Callable[[optuna.Study, FrozenTrial], None]


def silence_optuna() -> None:
    """Keep what optuna tells developers, such as which features are experimental, from the user's terminal.

    Its warnings seem to come from the code that calls it, which may be any of ours. What a user needs to know is told
    in lines of our own.
    """
    optuna.logging.disable_default_handler()
    optuna.logging.disable_propagation()
    for origin in ("optuna", "harness"):
        for category in (UserWarning, FutureWarning, optuna.exceptions.ExperimentalWarning):
            warnings.filterwarnings("ignore", category=category, module=rf"{origin}(\..*)?$")


def storage_of(sweep: Sweep, results: Path, on_interrupted: Interrupted | None = None) -> optuna.storages.BaseStorage:
    """Where the study is kept: SQLite in the results folder, a database, or a journal file.

    Args:
        sweep: the search.
        results: the results folder.
        on_interrupted: takes trials whose worker, on any machine, is silent for too long.

    Raises:
        UserError: it cannot be opened.
    """
    folder = results / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    address = sweep.storage or database_url(folder / "optuna.db")
    # If several processes create the tables of a database at the same time, all but one fail and must try again.
    for attempts_left in reversed(range(OPENING_ATTEMPTS)):
        try:
            return open_storage(address, on_interrupted)
        except ImportError as error:
            raise UserError(f"the study's storage '{address}' needs a driver: {ADVICE}") from error
        except Exception as error:
            if not attempts_left:
                raise UserError(f"the study's storage '{address}' cannot be opened: {first_line(error)}") from error
            time.sleep(POLL)
    raise AssertionError


def open_storage(address: str, on_interrupted: Interrupted | None = None) -> optuna.storages.BaseStorage:
    """Open the storage at an address; see `storage_of`."""
    silence_optuna()
    if address.startswith(f"{JOURNAL}:"):
        return optuna.storages.JournalStorage(JournalFileBackend(str(journal_path(address))))
    # SQLite waits for its lock; a database server may have closed a connection that was unused for long.
    arguments = {"connect_args": {"timeout": 100}} if address.startswith("sqlite") else {"pool_pre_ping": True}
    return optuna.storages.RDBStorage(
        # Optuna takes the URL for a template, in which braces stand for its own words.
        address.replace("{", "{{").replace("}", "}}"),
        engine_kwargs=arguments,
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=on_interrupted,
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


def asking_lock(sweep: Sweep, results: Path) -> Path | None:
    """The file that is locked while a trial is taken; None for storages that several machines may share."""
    if sweep.storage is None:
        return results / "sweeps" / "optuna.lock"
    database = database_file(sweep.storage)
    return database and database.with_name(f"{database.name}.lock")


def is_alone_while_asking(sweep: Sweep) -> bool:
    """Whether `asking_alone` keeps all other processes from taking a trial."""
    return asking_lock(sweep, Path()) is not None


def asking_alone(sweep: Sweep, results: Path) -> AbstractContextManager[None]:
    """Let one worker at a time take a trial: SQLite, unlike servers, can give one waiting trial to two workers."""
    lock = asking_lock(sweep, results)
    return file_lock(lock) if lock else nullcontext()


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

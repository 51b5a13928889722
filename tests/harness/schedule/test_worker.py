"""Starting the process of a run."""

import pytest

from harness.schedule.worker import START_ATTEMPTS, start_unheard


class Process:
    """A process whose server dies a few times while it is started."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        self.pid: int | None = None

    def start(self) -> None:
        if self.deaths:
            self.deaths -= 1
            raise EOFError("unexpected EOF")
        self.pid = 1


def test_a_server_that_is_killed_while_it_starts_a_process_does_not_end_the_command() -> None:
    process = Process(START_ATTEMPTS - 1)
    start_unheard(process)
    assert process.pid == 1


def test_a_server_that_always_dies_does() -> None:
    with pytest.raises(EOFError):
        start_unheard(Process(START_ATTEMPTS))

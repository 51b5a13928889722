"""Plants mistakes one at a time and runs the tests that should notice: `make test-mutants`.

The mistakes stand in `planted_mistakes.yaml`: a file, a piece of its text, what it is replaced by, and the tests that
must fail then. The work is done in a copy, so that nothing is left behind. The exit code is 1 if a mistake survives.

    python tests/planted_mistakes.py              all of them
    python tests/planted_mistakes.py trainer tune those whose file or text contains one of the words
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_suffix(".yaml")
NO_TESTS_RAN = 5
INTERRUPTED = 2
FAILED = 1


class Mistake(BaseModel):
    """One planted mistake.

    Attributes:
        file: that is changed, relative to the root of the project.
        right: a piece of its text that occurs once.
        wrong: what it is replaced by.
        tests: files, or single tests, that must fail then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    right: str
    wrong: str
    tests: str

    def __str__(self) -> str:
        return f"{self.file}: {self.right!r} -> {self.wrong!r}"

    def plant(self, root: Path) -> str:
        """Change the file; returns its right text.

        Raises:
            SystemExit: the text is not there exactly once.
        """
        path = root / self.file
        text = path.read_text()
        if text.count(self.right) != 1:
            sys.exit(f"{self}: the text occurs {text.count(self.right)} times in the file: update {FILE.name}")
        path.write_text(text.replace(self.right, self.wrong))
        return text


def read_mistakes(words: Sequence[str] = ()) -> list[Mistake]:
    """The mistakes of the list; with words, those whose file or text contains one of them."""
    mistakes = TypeAdapter(list[Mistake]).validate_python(yaml.safe_load(FILE.read_text()))
    return [item for item in mistakes if not words or any(word in str(item) for word in words)]


def copy_project(target: Path) -> None:
    """Copy what git knows of the project, with changes that are not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def survives(mistake: Mistake, root: Path) -> bool:
    """Whether the tests pass although the mistake is planted.

    Raises:
        SystemExit: the tests could not be run.
    """
    right = mistake.plant(root)
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mistake.tests.split()]
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    finally:
        (root / mistake.file).write_text(right)
    if done.returncode not in (0, FAILED, INTERRUPTED):
        sys.exit(f"{mistake}: the tests cannot be run: {done.stdout[-500:]} {done.stderr[-500:]}")
    return done.returncode == 0


def main(words: Sequence[str]) -> None:
    """Plant each mistake and print which survive."""
    mistakes = read_mistakes(words)
    workers = min(4, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        roots = [Path(folder) / str(number) for number in range(workers)]
        for root in roots:
            copy_project(root)

        def work(number: int) -> list[Mistake]:
            survivors = []
            for mistake in mistakes[number::workers]:
                survived = survives(mistake, roots[number])
                print("SURVIVED" if survived else "noticed ", mistake, flush=True)
                survivors += [mistake] if survived else []
            return survivors

        survivors = [mistake for found in pool.map(work, range(workers)) for mistake in found]
    print(f"{len(mistakes) - len(survivors)} of {len(mistakes)} planted mistakes were noticed")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main(sys.argv[1:])

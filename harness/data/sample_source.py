"""Where the index of a k-shot sample lies: a file, a pattern of its name, or a folder of the samples of others."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from harness.data.datasets import names_of
from harness.data.filesystem import folders_in, listed, spelling
from harness.data.sample_forms import TRAIN_LINES
from harness.errors import UserError, nearest

PLACEHOLDERS = ("dataset", "shots", "seed")
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
STEM = "shot_{shots}-seed_{seed}"
"""How the official code, cross_modal_adaptation and 2SFS all call the sample of a data set."""
SUFFIXES = (".pkl", ".json", TRAIN_LINES, ".jsonl")
SAMPLES = "split_fewshot"
"""The folder within that of a data set in which the official code and 2SFS keep samples."""


def find_index(written: str, dataset: str, shots: int, seed: int) -> Path:
    """The index file of one sample.

    Args:
        written: a file; a path in which {dataset}, {shots} and {seed} stand for those of the sample; or a folder that
            holds samples under the names that others give them.
        dataset: of the sample; other names of it are tried too.
        shots: k.
        seed: of the sample.

    Returns:
        The file. One that is named without placeholders need not exist.

    Raises:
        UserError: no file or several are meant; the message says what was looked for.
    """
    path = Path(os.path.expanduser(written))
    what = f"of data set '{dataset}', {shots} shots, seed {seed}"
    if PLACEHOLDER.search(written) and not os.path.exists(path):
        path = fill(str(path), written, names_of(dataset), {"shots": str(shots), "seed": str(seed)}, what)
    if not os.path.isdir(path):
        return path
    stem = STEM.format(shots=shots, seed=seed)
    names = [stem + suffix for suffix in SUFFIXES]
    for folders in places_in(path, names_of(dataset)):
        found = [folder / name for folder in folders for name in names if os.path.isfile(folder / name)]
        if found:
            return only_one(written, what, found)
    places = f"there, in {SAMPLES}/, in {dataset}/ and in {dataset}/{SAMPLES}/"
    raise UserError(f"data.index='{written}' has no sample {what}: looked for {', '.join(names)} {places}")


def fill(path: str, written: str, datasets: Iterable[str], numbers: dict[str, str], what: str) -> Path:
    """The file or folder that a pattern means.

    Args:
        path: with placeholders.
        written: the same as the user wrote it, for messages.
        datasets: names of the data set.
        numbers: shots and seed.
        what: the sample in words, for messages.

    Raises:
        UserError: a placeholder is unknown, or no file or several are meant.
    """
    for word in PLACEHOLDER.findall(path):
        if word not in PLACEHOLDERS:
            raise UserError(f"data.index='{written}' has the placeholder '{{{word}}}'.{nearest(word, PLACEHOLDERS)}")

    def with_name(name: str) -> str:
        return PLACEHOLDER.sub(lambda match: {**numbers, "dataset": name}[match[1]], path)

    tried = list(dict.fromkeys(with_name(name) for name in datasets))
    found = [Path(one) for one in tried if os.path.exists(one)]
    if not found:
        hint = nearest_file(Path(tried[0]))
        raise UserError(f"data.index='{written}' has no sample {what}: looked for {listed(tried, limit=5)}{hint}")
    return only_one(written, what, found)


def nearest_file(missing: Path) -> str:
    """A hint that ends an error line: the file in the same folder whose name is nearest to a missing one."""
    try:
        names = os.listdir(missing.parent)[:1000]
    except OSError:
        return f"; folder '{missing.parent}' cannot be read"
    return f".{hint}" if (hint := nearest(missing.name, names).partition(" Known:")[0]) else ""


def places_in(folder: Path, datasets: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """The folders in which samples of a data set may lie: first those that name it, then the one that was given."""
    wanted = {spelling(name) for name in datasets}
    named = [folder / name for name in folders_in(folder) if spelling(name) in wanted]
    first, then = (
        [place for parent in several for place in (parent, parent / SAMPLES)] for several in (named, [folder])
    )
    return first, then


def only_one(written: str, what: str, found: list[Path]) -> Path:
    """The file that was found.

    Raises:
        UserError: several were.
    """
    files = {os.path.realpath(path): path for path in reversed(found)}
    if len(files) > 1:
        several = listed([f"'{path}'" for path in reversed(files.values())], limit=5)
        raise UserError(f"data.index='{written}' has several samples {what}: {several}; name one, or write a pattern")
    return found[0]


def pattern_of(written: str, dataset: str, shots: int, seed: int | None) -> str:
    """What an index is called beside those of other data sets, shots and seeds, all of which one pattern gives.

    Args:
        written, dataset, shots: as for `find_index`.
        seed: of the sample; None if its file serves several.

    Returns:
        The path with placeholders where it has the data set's name as a folder and the usual name of a sample.
    """
    names = set(names_of(dataset))
    *folders, file = written.split("/")
    if seed is not None:
        file = re.sub(re.escape(STEM.format(shots=shots, seed=seed)) + r"(?!\d)", STEM, file)
    return "/".join([*("{dataset}" if name in names else name for name in folders), file])

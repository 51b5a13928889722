"""Which pictures were found intact before, so that no run decodes them once more only to find out.

Of a few-shot sample that was checked and has no broken picture a small file is kept, named by the paths and the states
of its files: it says so to every run that draws the same. A sample with a broken picture is checked each time.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.data.pictures import Checked, check_pictures
from harness.data.readers import Picture
from harness.errors import UserError
from harness.experiment.place import RuntimeSpec
from harness.machine.environment import package_version
from harness.results.files import write_atomically
from harness.training.feature_identity import UNKNOWN, code_digest, picture_names
from harness.training.feature_store import open_store
from harness.training.store_folders import intact_folder

DECIDING = ("data",)
"""The code of SkipBench that opens and decodes pictures, in harness/."""


def check_once(folder: Path, pictures: Sequence[Picture], skip_broken: bool, runtime: RuntimeSpec) -> Checked:
    """Check pictures before they are used, unless it is known that all of them are intact.

    Args:
        folder: the folder that their paths are relative to.
        pictures: to check.
        skip_broken: leave out broken pictures and return them separately, instead of raising an error.
        runtime: says where such knowledge is kept.

    Raises:
        UserError: as `check_pictures`.
    """
    path = file_of(folder, pictures, runtime)
    if path and path.is_file():
        return Checked(list(pictures), [])
    checked = check_pictures(folder, pictures, skip_broken)
    if path and not checked.broken:
        with suppress(OSError, UserError):  # a full disk, or a folder that cannot be written: the next run checks anew
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps({"pictures": len(pictures)}).encode())
    return checked


def file_of(folder: Path, pictures: Sequence[Picture], runtime: RuntimeSpec) -> Path | None:
    """The file that is there if pictures are known to be intact; None if nothing can be known of them."""
    store = open_store(runtime)
    names = picture_names(folder, pictures) if store else []
    if store is None or not names or UNKNOWN in names:
        return None
    about = json.dumps([str(folder.resolve()), code_digest(DECIDING), package_version("pillow")])
    found = hashlib.blake2b(about.encode(errors="replace"), digest_size=16)
    for name in names:
        found.update(name)
    return intact_folder(store.folder) / f"{found.hexdigest()}.json"

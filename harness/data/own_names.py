"""Names of data sets of the user's own: folders of pictures, data sets of the Hugging Face hub, WebDataset shards."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError, nearest

OWN = "folder:"
"""Names of data sets that are folders of the user's own begin with this: folder:PATH."""
HUB = "hf:"
"""Of data sets of the hub, and of folders in the hub's forms: hf:OWNER/NAME and hf:/PATH."""
SHARDS = "wds:"
"""Of folders of WebDataset shards: wds:/PATH."""
PREFIXES = (OWN, HUB, SHARDS)
OPTIONS = ("image", "label", "names", "train", "val", "test", "revision")
"""What may follow a name with prefix hf: or wds: as `:option=value`, beside the name of a configuration."""
FORM = f"hf:/path:CONFIGURATION:label=column, with options {', '.join(OPTIONS)}"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class HubName:
    """A name such as `hf:/path:CONFIGURATION:label=fine_label`, in its parts.

    Attributes:
        text: the whole name.
        prefix: hf: or wds:.
        place: a path as it was written, or the repository's name on the hub.
        config: the configuration, or None where none is named.
        options: option and value, of those in OPTIONS that are given, in order.
    """

    text: str
    prefix: str
    place: str
    config: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    def of(self, option: str) -> str | None:
        """The value of an option, or None where it is not given."""
        return dict(self.options).get(option)

    @property
    def path(self) -> Path | None:
        """The folder that it names; None for a repository of the hub."""
        return absolute(self.place) if self.prefix == SHARDS or is_path(self.place) else None


def is_own(name: str) -> bool:
    """Whether a name is that of data of the user's own, which is known by its content and not by its name."""
    return name.startswith(PREFIXES)


def is_path(place: str) -> bool:
    """Whether what follows hf: is a path: it is absolute, or begins with a dot or a tilde."""
    return place.startswith((".", "~")) or os.path.isabs(place)


def absolute(place: str) -> Path:
    """A path as the user wrote it, absolute."""
    return Path(os.path.abspath(os.path.expanduser(place)))


def own_path(name: str) -> Path:
    """The folder that `folder:PATH` names."""
    return absolute(name.removeprefix(OWN))


def parse_hub_name(name: str) -> HubName:
    """The parts of a name with prefix hf: or wds:. Of a path that contains colons, the longest that exists is taken.

    Raises:
        UserError: it names nothing, an unknown option, or an option twice.
    """
    prefix = HUB if name.startswith(HUB) else SHARDS
    words = name.removeprefix(prefix).split(":")
    ends = range(len(words), 0, -1)
    end = next((end for end in ends if os.path.isdir(absolute(":".join(words[:end])))), 1) if words[0] else 1
    place = ":".join(words[:end])
    if prefix == HUB and not is_path(place):
        place, end = words[0], 1
        if not REPOSITORY.fullmatch(place):
            raise UserError(f"'{name}' names no data set: give hf:OWNER/NAME of the hub, or hf:/path of a folder")
    if not place:
        raise UserError(f"'{name}' names no folder: give {prefix}/path")
    config: str | None = None
    options: dict[str, str] = {}
    for word in words[end:]:
        option, equals, value = word.partition("=")
        if not equals:
            if config is not None or not word:
                raise UserError(f"'{name}' has '{word}' where an option belongs: write {FORM}")
            config = word
        elif option not in OPTIONS:
            raise UserError(f"'{name}' has the unknown option '{option}': write {FORM}.{nearest(option, OPTIONS)}")
        elif option in options or not value:
            raise UserError(f"'{name}' gives {option} {'twice' if value else 'no value'}: write {FORM}")
        else:
            options[option] = value
    return HubName(name, prefix, place, config, tuple(sorted(options.items())))


def split_names(text: str) -> list[str]:
    """The names in a list separated by commas. Of a path the longest one that is a folder is taken.

    So the path may contain commas.
    """
    words = text.split(",")
    names = []
    while words:
        end = 1
        if words[0].strip().startswith(PREFIXES):
            ends = range(len(words), 0, -1)
            end = next((end for end in ends if names_a_folder(",".join(words[:end]).strip())), 1)
        names.append(",".join(words[:end]).strip())
        words = words[end:]
    return [name for name in names if name]


def names_a_folder(name: str) -> bool:
    """Whether the path in a name of the user's own data is that of a folder."""
    if name.startswith(OWN):
        return os.path.isdir(own_path(name))
    try:
        path = parse_hub_name(name).path
    except UserError:
        return False
    return path is not None and os.path.isdir(path)

"""Whether the tokenizer in transformers' folder of a model is CLIP's own, which its texts are given to."""

from pathlib import Path
from typing import Any

from harness.clip.open_clip_files import simple_tokenizer
from harness.clip.strict_json import MIB, read_json
from harness.errors import UserError

# CLIP's vocabulary has one megabyte, tokenizer.json two.
MOST_BYTES = 32 * MIB


def refuse_other_vocabulary(folder: Path) -> None:
    """Raise a UserError if a folder holds another vocabulary than CLIP's; one without any is taken to mean CLIP's.

    Args:
        folder: of a model of transformers.
    """
    path = next((path for name in ("vocab.json", "tokenizer.json") if (path := folder / name).is_file()), None)
    if path is None:
        return
    found = vocabulary_in(path)
    ours = simple_tokenizer()().encoder
    special = ("<start_of_text>", "<end_of_text>")  # transformers writes them in another way
    different = [token for token, number in ours.items() if token not in special and found.get(token) != number]
    if different:
        raise UserError(
            f"the vocabulary '{path}' is not CLIP's: {len(different)} of CLIP's {len(ours)} tokens have another number "
            "or none. Only models with CLIP's own tokenizer are supported"
        )


def vocabulary_in(path: Path) -> dict[str, Any]:
    """Token -> number in a vocab.json or tokenizer.json.

    Raises:
        UserError: it is neither.
    """
    data = read_json(path, f"vocabulary '{path}'", "an object of tokens and numbers", MOST_BYTES)
    model = data.get("model") if path.name == "tokenizer.json" else None
    found = model.get("vocab") if isinstance(model, dict) else data
    return found if isinstance(found, dict) else {}

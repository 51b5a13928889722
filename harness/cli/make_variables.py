"""What is wrong with the variables on the command line of make; one line, or nothing.

    python harness/cli/make_variables.py "GOALS" NAME=VALUE...

make itself takes any variable and says nothing. This runs before anything is installed, so it needs Python alone: what
each target reads is read from the Makefile, and the settings that ARGS= can change from their declarations.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFAULT_GOAL = "help"
# Read by make itself, by Python or by the libraries; make passes what is on its command line on to them.
ELSEWHERE = re.compile(
    r"(MAKE|GNUMAKE|SHELL|\.|CURDIR|VPATH|PATH$|HOME$|TMPDIR|LANG|LC_|DATA$|PYTHON|PIP_|XDG_|SKIPBENCH_|WANDB_|HF_|RAY_"
    r"|SLURM|SBATCH|OPTUNA_|CUDA_|NVIDIA_|NCCL_|TORCH|PYTORCH|OMP_|MKL_|OPENBLAS_|GOMP_|PYTEST_|(http|https|no|all)_proxy)",
    re.IGNORECASE,
)
# Prepare the environment for whatever target.
EVERYWHERE = {"PYTHON", "VENV", "LATEST", "UV"}
MAY_BE_EMPTY = {"ARGS", "LATEST", "UV"}
SECTIONS = {
    "DataSpec": "data",
    "TrainSpec": "train",
    "WandbSpec": "wandb",
    "TrackingSpec": "tracking",
    "RuntimeSpec": "runtime",
}
SECTIONS |= {"SelectSpec": "select", "ScheduleSpec": "schedule"}


def complaint(goals: list[str], given: dict[str, str], makefile: str) -> str:
    """What is wrong first; empty if nothing is.

    Args:
        goals: targets to make.
        given: variables on the command line.
        makefile: its text.
    """
    reads = targets(makefile)
    used = set(EVERYWHERE).union(*(reads.get(goal, set()) for goal in goals))
    known = set(EVERYWHERE).union(*reads.values())
    for name, value in given.items():
        if name in used:
            if not value.strip() and name not in MAY_BE_EMPTY:
                return f"{name}= is empty: give a value, or leave it out"
        elif name in known:
            others = " ".join(target for target, names in reads.items() if name in names)
            return f"{name}= changes nothing in `make {' '.join(goals)}`; it is for: {others}"
        elif not ELSEWHERE.match(name):
            return f"{name}= is no variable of the Makefile. {advice(name, value, used, given.get('METHOD', ''))}"
    return ""


def targets(makefile: str) -> dict[str, set[str]]:
    """Target -> the variables that its recipe reads, directly or through other variables."""
    definitions = dict(re.findall(r"^(\w+) *[?:]?= *((?:.*\\\n)*.*)$", makefile, re.MULTILINE))
    settable = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE))

    def names_in(text: str) -> set[str]:
        found: set[str] = set()
        left = set(re.findall(r"\b[A-Z][A-Z_]*\b", text)) & definitions.keys()
        while left:
            found |= left
            below = " ".join(definitions[name] for name in left)
            left = (set(re.findall(r"\b[A-Z][A-Z_]*\b", below)) & definitions.keys()) - found
        return found & settable

    rules = re.findall(r"^([a-z][a-z-]*):.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
    # The text of help names all variables and reads none.
    return {target: set() if target == DEFAULT_GOAL else names_in(recipe) for target, recipe in rules}


def advice(name: str, value: str, variables: set[str], methods: str) -> str:
    """What to write instead of a variable that does not exist."""
    word = plain(name)
    for variable in sorted(variables):
        if plain(variable) == word:
            return f"Did you mean {variable}=?"
    keys = settings()
    exact = [key for key in keys if word in (plain(key), plain(key.partition(".")[2]), plain(keys[key]))]
    own = [key for key in exact if key.partition(".")[0] in re.split(r"[\s,]+", methods)]
    close = difflib.get_close_matches(word, [plain(item) for item in sorted(variables)], n=1, cutoff=0.75)
    if close and not exact:
        return f"Did you mean {next(item for item in sorted(variables) if plain(item) == close[0])}=?"
    if not exact:
        nearest = difflib.get_close_matches(name.lower(), keys, n=1, cutoff=0.75)
        exact = nearest or []
    if exact and "ARGS" in variables:
        return " or ".join(f'ARGS="{key}={value}"' for key in (own or exact)) + " sets it"
    several = f"{', '.join(sorted(variables - EVERYWHERE))}" or "none"
    return f"This target reads: {several}; settings of runs go into ARGS=, other variables before the word make"


def plain(text: str) -> str:
    """A name without case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def settings() -> dict[str, str]:
    """Key of every setting that ARGS= can change -> what it is called in words, as far as its description begins so."""
    found = {}
    specs = [ROOT / "harness/experiment" / name for name in ("spec.py", "training_spec.py", "place.py")]
    for path in [*specs, *sorted((ROOT / "methods").glob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and (node.name in SECTIONS or node.name == "Config"):
                section = SECTIONS.get(node.name, path.stem)
                found.update({f"{section}.{key}": words for key, words in keys_of(node)})
    return found


def keys_of(node: ast.ClassDef) -> list[tuple[str, str]]:
    """The keys that a class of settings declares, as users write them, and the first words of their descriptions."""
    found = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            options = item.value.keywords if isinstance(item.value, ast.Call) else []
            texts = {
                option.arg: option.value.value
                for option in options
                if isinstance(option.value, ast.Constant) and isinstance(option.value.value, str)
            }
            name = texts.get("alias", item.target.id)
            found.append((name, re.split(r"[;,:]", texts.get("description", ""))[0]))
    return found


if __name__ == "__main__":
    pairs = [word.partition("=") for word in sys.argv[2:]]
    makefile_text = (ROOT / "Makefile").read_text(encoding="utf-8")
    asked = {name: value for name, _, value in pairs}
    print(complaint(sys.argv[1].split() or [DEFAULT_GOAL], asked, makefile_text))

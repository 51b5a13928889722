"""Which sample a run has: given by a file, a pattern or a folder, or drawn; what that makes of its id."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.experiment.content import index_content
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.no_effect import without_effect
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec

Make = Callable[..., RunSpec]
PATTERN = "{dataset}/shot_{shots}-seed_{seed}"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def specs_of(*words: str, methods: str = "skip", seeds: tuple[int, ...] = (1, 2)) -> list[RunSpec]:
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": methods, "seeds": list(seeds), "shots": [4]})
    return [item.spec for item in plan_grid(experiment, parse_overrides(words))]


def told(*words: str, methods: str = "skip", seeds: tuple[int, ...] = (1, 2)) -> list[str]:
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": methods, "seeds": list(seeds), "shots": [4]})
    return without_effect(plan_grid(experiment, parse_overrides(words)))


def test_a_pattern_gives_each_run_its_own_file(tmp_path: Path) -> None:
    for seed in (1, 2):
        put(tmp_path / f"emoji/shot_4-seed_{seed}.json", f"[{seed}]")
    specs = specs_of(f"data.index={tmp_path}/{PATTERN}.json")
    assert [spec.index_file for spec in specs] == [tmp_path / f"emoji/shot_4-seed_{seed}.json" for seed in (1, 2)]
    assert {spec.sample_source for spec in specs} == {f"data.index={tmp_path}/{PATTERN}.json"}
    # A run is known by what stands in its file, however it was named.
    again = [*specs_of(f"data.index={tmp_path}"), *specs_of(f"data.index={tmp_path}/emoji/")]
    assert [spec.id for spec in again] == [spec.id for spec in specs] * 2
    (only,) = specs_of(f"data.index={tmp_path}/{PATTERN}.json", "data.sample_seed=2", seeds=(7,))
    assert only.index_file == specs[1].index_file


def test_a_file_that_is_missing_is_told_before_the_first_run(tmp_path: Path) -> None:
    put(tmp_path / "emoji/shot_4-seed_1.json", "[1]")
    with pytest.raises(UserError, match="has no sample of data set 'emoji', 4 shots, seed 2: looked for"):
        specs_of(f"data.index={tmp_path}/{PATTERN}.json")


def test_both_files_of_a_sample_decide_the_id(tmp_path: Path, make_spec: Make) -> None:
    train, val = tmp_path / "shot_16-seed_1_train.jsonl", tmp_path / "shot_16-seed_1_val.jsonl"
    put(train, "{}")
    ids = [make_spec("skip", f"data.index={train}").id]
    for text in ("[1]", "[2]"):
        put(val, text)
        ids.append(make_spec("skip", f"data.index={train}").id)
    assert len(set(ids)) == 3
    assert index_content(train) != index_content(val)


def test_how_a_sample_is_drawn_decides_the_id(make_spec: Make) -> None:
    usual, official = make_spec("skip"), make_spec("skip", "data.sampling=dassl")
    assert usual.id == make_spec("skip", "data.sampling=hash").id != official.id
    assert "sampling" not in usual.identity()["data"]
    assert (usual.sample_source, official.sample_source) == ("", "data.sampling=dassl")
    with pytest.raises(UserError, match=r"data\.sampling='dasl': input should be 'hash' or 'dassl'"):
        make_spec("skip", "data.sampling=dasl")


def test_a_tail_cannot_be_drawn_so(make_spec: Make) -> None:
    settings = make_spec("skip").settings()
    settings["data"] |= {"shots": "longtail:16..1", "sampling": "dassl"}
    with pytest.raises(ValueError, match=r"data\.sampling=dassl draws as many of each class, not data\.shots=longtail"):
        RunSpec.model_validate(settings)


def test_what_a_sample_leaves_without_effect(tmp_path: Path) -> None:
    for seed in (1, 2):
        put(tmp_path / f"emoji/shot_4-seed_{seed}.json", f"[{seed}]")
    pattern, one = f"data.index={tmp_path}/{PATTERN}.json", f"data.index={tmp_path}/emoji/shot_4-seed_1.json"
    assert told(pattern) == []
    (line,) = told(one)
    assert line.startswith("data.index gives all seeds the same pictures")
    assert told(one, seeds=(1,)) == []
    assert told(pattern, "data.sampling=dassl") == ["data.sampling has no effect: data.index gives the sample"]
    assert told("data.sampling=dassl") == []
    (line,) = told("data.sampling=dassl", methods="zeroshot")
    assert line == "data.sampling has no effect: nothing is learned from training pictures"
    assert len(specs_of("data.sampling=hash,dassl", methods="zeroshot")) == 1

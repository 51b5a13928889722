"""Runs on samples of others: drawn as the official code does, or given by a pattern of its files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import harness.training.run_data
from harness.data.dassl import dassl_sample
from harness.data.datasets import read_dataset
from harness.data.sample_file import read_index
from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.training.run_data import RunData, exported_sample
from tests.official_pickles import pickled_sample

Make = Callable[..., RunSpec]
DASSL = "data.sampling=dassl"


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_draws_the_official_sample(make_spec: Make, tmp_path: Path, seed: int) -> None:
    splits = read_dataset("emoji")
    data = RunData(make_spec("zeroshot", DASSL, seed=seed, shots=4))
    drawn = data.few_shot()
    assert drawn.drawn == dassl_sample("emoji", splits, 4, seed)
    assert drawn.drawn != RunData(make_spec("zeroshot", seed=seed, shots=4)).few_shot().drawn
    # What it exports can be given to others, and says how it was drawn.
    content = exported_sample(data.spec, drawn)
    assert (content["sampling"], content["seed"]) == ("dassl", seed)
    (tmp_path / "sample.json").write_text(json.dumps(content))
    assert read_index(tmp_path / "sample.json", splits, 4, "emoji") == drawn.drawn


def test_the_seed_of_the_sample_counts(make_spec: Make) -> None:
    data = RunData(make_spec("zeroshot", DASSL, "data.sample_seed=5", shots=4))
    assert data.few_shot().drawn == dassl_sample("emoji", read_dataset("emoji"), 4, 5)


def test_the_official_validation_images_are_those_to_choose_by(make_spec: Make) -> None:
    data = RunData(make_spec("zeroshot", DASSL, "data.classes=all", shots=2))
    sample = data.few_shot()
    assert data.validation_pictures(sample, "val") == list(sample.drawn.val)
    more = RunData(make_spec("zeroshot", DASSL, "data.classes=all", "select.shots=3", shots=2))
    assert len(more.validation_pictures(more.few_shot(), "val")) == 3 * 45


def test_an_order_that_no_file_gives_is_refused(make_spec: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    unordered = replace(read_dataset("emoji"), official_order=False)
    monkeypatch.setattr(harness.training.run_data, "read_dataset", lambda *arguments: unordered)
    with pytest.raises(UserError, match=r"data\.sampling=dassl cannot draw from 'emoji'"):
        RunData(make_spec("zeroshot", DASSL, shots=4)).few_shot()


def test_files_of_the_official_code_give_each_seed_its_sample(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = read_dataset("emoji")
    samples = {seed: dassl_sample("emoji", splits, 4, seed) for seed in (1, 2)}
    folder = tmp_path / "emoji" / "split_fewshot"
    folder.mkdir(parents=True)
    for seed, sample in samples.items():
        rows = {
            split: [(f"/home/them/emoji/{path}", label, splits.class_names[label]) for path, label in part]
            for split, part in zip(("train", "val"), sample, strict=True)
        }
        (folder / f"shot_4-seed_{seed}.pkl").write_bytes(pickled_sample(monkeypatch, **rows))
    for index in (tmp_path, tmp_path / "{dataset}", folder / "shot_{shots}-seed_{seed}.pkl"):
        for seed, sample in samples.items():
            assert RunData(make_spec("zeroshot", f"data.index={index}", seed=seed, shots=4)).few_shot().drawn == sample

"""Where an index lies: files, patterns and folders of samples, and one line where none or several are meant."""

import os
from pathlib import Path

import pytest

from harness.data.sample_source import find_index, pattern_of
from harness.errors import UserError


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("{}")


def found(root: Path, written: str, dataset: str = "dtd", shots: int = 16, seed: int = 1) -> str:
    return str(find_index(str(root / written), dataset, shots, seed).relative_to(root))


def error_of(root: Path, written: str, dataset: str = "dtd", shots: int = 16, seed: int = 1) -> str:
    with pytest.raises(UserError) as caught:
        find_index(str(root / written), dataset, shots, seed)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"data.index='{root / written}' has ")
    return str(caught.value)


def test_a_file_stands_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_index("sample.json", "dtd", 16, 1) == Path("sample.json")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_index("~/sample.json", "dtd", 16, 1) == tmp_path / "sample.json"
    put(tmp_path, "{x}.json")
    assert found(tmp_path, "{x}.json") == "{x}.json"


def test_patterns(tmp_path: Path) -> None:
    put(tmp_path, "dtd/shot_16-seed_1.json", "dtd/shot_16-seed_11.json", "dtd/shot_4-seed_2.json")
    pattern = "{dataset}/shot_{shots}-seed_{seed}.json"
    assert found(tmp_path, pattern) == "dtd/shot_16-seed_1.json"
    assert found(tmp_path, pattern, shots=4, seed=2) == "dtd/shot_4-seed_2.json"
    put(tmp_path, "caltech-101/split_fewshot/shot_16-seed_1.pkl")
    assert found(tmp_path, "{dataset}/split_fewshot/shot_{shots}-seed_{seed}.pkl", "caltech101").startswith("caltech-")


def test_a_pattern_of_folders(tmp_path: Path) -> None:
    put(tmp_path, "seed1/DTD/shot_16-seed_1.pkl")
    assert found(tmp_path, "seed{seed}") == "seed1/DTD/shot_16-seed_1.pkl"


def test_a_pattern_that_gives_no_file(tmp_path: Path) -> None:
    put(tmp_path, "dtd/shot_16-seed_1.json")
    told = error_of(tmp_path, "{dataset}/shot_{shots}-seed_{seed}.json", seed=2)
    assert "has no sample of data set 'dtd', 16 shots, seed 2: looked for" in told
    assert told.endswith("Did you mean 'shot_16-seed_1.json'?")
    told = error_of(tmp_path, "{dataset}/shot_{shots}-seed_{seed}.json", "food101")
    assert f"{tmp_path}/food101/shot_16-seed_1.json, {tmp_path}/food-101/shot" in told
    assert told.endswith(f"folder '{tmp_path}/food101' cannot be read")


def test_a_pattern_with_an_unknown_placeholder(tmp_path: Path) -> None:
    told = error_of(tmp_path, "shot_{shot}.json")
    assert told.endswith("has the placeholder '{shot}'. Did you mean 'shots'? Known: dataset, seed, shots.")


def test_a_pattern_that_gives_two_files(tmp_path: Path) -> None:
    put(tmp_path, "food101/s.json", "food-101/s.json")
    told = error_of(tmp_path, "{dataset}/s.json", "food101")
    assert f"has several samples of data set 'food101', 16 shots, seed 1: '{tmp_path}/food101/s.json', '" in told
    os.remove(tmp_path / "food-101/s.json")
    os.symlink("../food101/s.json", tmp_path / "food-101/s.json")
    assert found(tmp_path, "{dataset}/s.json", "food101") == "food101/s.json"


@pytest.mark.parametrize(
    "path",
    [
        "shot_16-seed_1.pkl",
        "split_fewshot/shot_16-seed_1.pkl",
        "oxford_pets/split_fewshot/shot_16-seed_1.pkl",
        "Oxford-Pets/split_fewshot/shot_16-seed_1_train.jsonl",
        "oxford-iiit-pet/shot_16-seed_1.json",
        "OxfordPets/shot_16-seed_1.jsonl",
    ],
)
def test_folders(tmp_path: Path, path: str) -> None:
    others = (
        "dtd/shot_16-seed_1.pkl",
        "oxford_pets/shot_16-seed_11.pkl",
        "oxford_pets/split_fewshot/shot_1-seed_1.pkl",
    )
    put(tmp_path, path, *others)
    assert found(tmp_path, ".", "oxford_pets") == path


def test_what_is_below_the_data_set_counts_first(tmp_path: Path) -> None:
    put(tmp_path, "shot_16-seed_1.pkl", "dtd/shot_16-seed_1.pkl")
    assert found(tmp_path, ".") == "dtd/shot_16-seed_1.pkl"


def test_a_folder_with_no_sample_or_several(tmp_path: Path) -> None:
    put(tmp_path, "dtd/split_fewshot/shot_16-seed_1.pkl", "dtd/split_fewshot/shot_16-seed_1_train.jsonl")
    told = error_of(tmp_path, ".", seed=3)
    assert (
        "has no sample of data set 'dtd', 16 shots, seed 3: looked for shot_16-seed_3.pkl, shot_16-seed_3.json, "
        in told
    )
    assert told.endswith("there, in split_fewshot/, in dtd/ and in dtd/split_fewshot/")
    told = error_of(tmp_path, ".")
    assert "has several samples of data set 'dtd', 16 shots, seed 1: '" in told
    assert told.endswith("; name one, or write a pattern")


def test_folders_of_ones_own(tmp_path: Path) -> None:
    put(tmp_path, "birds/shot_16-seed_1.json")
    assert found(tmp_path, ".", "folder:/pictures/birds") == "birds/shot_16-seed_1.json"
    assert found(tmp_path, "{dataset}/shot_{shots}-seed_{seed}.json", "folder:/a/birds/") == "birds/shot_16-seed_1.json"


def test_files_that_one_pattern_gives_are_called_alike() -> None:
    pattern = "/i/{dataset}/shot_{shots}-seed_{seed}.json"
    assert pattern_of("/i/dtd/shot_16-seed_1.json", "dtd", 16, 1) == pattern
    assert pattern_of("/i/food-101/shot_4-seed_12.json", "food101", 4, 12) == pattern
    assert pattern_of(pattern, "dtd", 16, 1) == pattern
    assert pattern_of("/i/dtd/shot_16-seed_12.json", "dtd", 16, 1) == "/i/{dataset}/shot_16-seed_12.json"
    assert pattern_of("/i/dtd/shot_16-seed_1.json", "dtd", 16, None) == "/i/{dataset}/shot_16-seed_1.json"
    assert pattern_of("/i/other/sample.json", "dtd", 16, 1) == "/i/other/sample.json"

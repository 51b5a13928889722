"""Kept logits: the same predictions after rounding, whatever the scale; and files that are not what they should be."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save

from harness.results.folder import RunFolder
from harness.results.logits import (
    VALIDATION,
    VALIDATION_FILE,
    KeptLogits,
    LogitsFacts,
    bytes_of,
    logits_file,
    read_logits,
    read_validation_logits,
    remove_logits,
)
from harness.results.record import DamagedError, Evaluation

EVALUATION = Evaluation(name="base", dataset="emoji", accuracy=50.0, images=4, pictures_hash="same")


def kept_for(run: str, evaluation: str = "base", splits: tuple[str, ...] = ("test",)) -> KeptLogits:
    """Logits of four images among three classes."""
    facts = LogitsFacts(
        run=run, evaluation=evaluation, dataset="emoji", classes="base", splits=splits,
        class_names=("a", "b", "c"), pictures_hash="same",
    )  # fmt: skip
    logits = np.array([[25.0, 24.0, 3.0], [1.0, 7.5, 7.0], [0.0, -4.0, 2.0], [9.0, 1.0, 1.0]], np.float32)
    return KeptLogits.of(facts, logits, np.array([0, 1, 2, 1]))


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=FINITE))
def test_rounding_changes_no_prediction_and_overflows_nowhere(logits: np.ndarray) -> None:
    kept = KeptLogits.of(kept_for("r").facts, logits, np.zeros(len(logits), np.int64))
    assert np.isfinite(kept.rounded).all()
    # Ties included: whatever is highest in the logits is highest in what is kept, and nothing else is.
    assert ((kept.logits == 0) == (logits == logits.max(axis=1, keepdims=True))).all()
    assert (kept.logits.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_a_softmax_of_kept_logits_is_that_of_the_logits() -> None:
    logits = np.random.default_rng(0).normal(300.0, 8.0, (50, 20)).astype(np.float32)
    kept = KeptLogits.of(kept_for("r").facts, logits, np.zeros(50, np.int64))
    assert np.abs(kept.whole_logits - logits).max() < 0.04  # half a step of float16 between 32 and 64
    exact, ours = (np.exp(values - values.max(axis=1, keepdims=True)) for values in (logits.astype(float), kept.logits))
    exact, ours = exact / exact.sum(axis=1, keepdims=True), ours / ours.sum(axis=1, keepdims=True)
    assert np.abs(exact - ours).max() < 2e-3


def test_what_is_written_is_read(folder: RunFolder) -> None:
    run = folder.path.name
    assert read_logits(folder, EVALUATION) is None
    kept = kept_for(run)
    folder.write(logits_file("base"), kept.to_bytes())
    found = read_logits(folder, EVALUATION)
    assert found is not None
    assert found.facts == kept.facts
    assert (found.logits == [[0, -1, -22], [-6.5, 0, -0.5], [-2, -6, 0], [0, -8, -8]]).all()
    assert (found.whole_logits[1] == [1.0, 7.5, 7.0]).all()
    assert list(found.labels) == [0, 1, 2, 1]
    assert len(kept.to_bytes()) > bytes_of(4, 3) == 4 * (3 * 2 + 8 + 4)
    remove_logits(folder)
    assert read_logits(folder, EVALUATION) is None
    assert (folder.path / "spec.yaml").exists()


def test_names_of_files_hold_any_name_of_an_evaluation() -> None:
    names = ["base", "folder:/a/b", "../x", "é" * 300, "é" * 301, ""]
    files = [logits_file(name) for name in names]
    assert len(set(files)) == len(names)
    assert all("/" not in file and len(file.encode()) < 200 for file in files)
    assert VALIDATION_FILE not in files


def test_validation_logits_are_never_of_test_images(folder: RunFolder) -> None:
    assert read_validation_logits(folder) is None
    run = folder.path.name
    folder.write(VALIDATION_FILE, kept_for(run, VALIDATION, ("val",)).to_bytes())
    found = read_validation_logits(folder)
    assert found is not None
    assert found.facts.splits == ("val",)
    folder.write(VALIDATION_FILE, kept_for(run, VALIDATION, ("test",)).to_bytes())
    with pytest.raises(DamagedError, match="of test images, on which nothing is fitted"):
        read_validation_logits(folder)


def spoiled(**arrays_: np.ndarray) -> Callable[[KeptLogits], bytes]:
    return lambda kept: replace(kept, **arrays_).to_bytes()


def without_facts(kept: KeptLogits) -> bytes:
    return save({"logits": kept.rounded, "labels": kept.labels, "maxima": kept.maxima})


def of_other_facts(about: str) -> Callable[[KeptLogits], bytes]:
    return lambda kept: save({"logits": kept.rounded, "labels": kept.labels, "maxima": kept.maxima}, {"about": about})


NAN = np.array([[0, np.nan, 0]] * 4, np.float16)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda kept: kept.to_bytes()[:-5], "rror|eader"),
        (lambda kept: kept.to_bytes()[:20], "rror|eader"),
        (lambda kept: b"", "rror|eader"),
        (lambda kept: b"\xff" * 100, "rror|eader"),
        (lambda kept: kept_for("another").to_bytes(), "it is of run another"),
        (lambda kept: kept_for(kept.facts.run, "new").to_bytes(), "it is of evaluation 'new'"),
        (spoiled(rounded=NAN), "its logits are not finite"),
        (spoiled(maxima=np.full(4, np.inf, np.float32)), "its logits are not finite"),
        (spoiled(rounded=np.ones((4, 3), np.float16)), "the highest logit of an image is not zero"),
        (spoiled(rounded=np.zeros((4, 2), np.float16)), r"its logits have the shape \[4, 2\], not \[4, 3\]"),
        (spoiled(rounded=np.zeros((0, 3), np.float16)), "its logits have the shape"),
        (spoiled(rounded=np.zeros(3, np.float16)), "its logits have the shape"),
        (spoiled(rounded=np.zeros((4, 3), np.float32)), "its logits are F32 instead of F16"),
        (spoiled(labels=np.array([0, 1, 3, 0])), "a label is none of its classes"),
        (spoiled(labels=np.array([0, -1, 2, 0])), "a label is none of its classes"),
        (spoiled(labels=np.array([0])), r"its labels have the shape \[1\], not \[4\]"),
        (without_facts, "'about' is missing"),
        (of_other_facts("{"), "Invalid JSON"),
        (of_other_facts('{"run": "r"}'), "Field required"),
        (lambda kept: save({"logits": kept.rounded}, {"about": kept.facts.model_dump_json()}), "it has no labels"),
    ],
)
def test_a_damaged_file_is_one_line(content: Callable[[KeptLogits], bytes], reason: str, folder: RunFolder) -> None:
    path = folder.path / logits_file("base")
    path.write_bytes(content(kept_for(folder.path.name)))
    with pytest.raises(DamagedError, match=reason) as caught:
        read_logits(folder, EVALUATION)
    assert str(caught.value).startswith(f"'{path}' is damaged (")
    assert "\n" not in str(caught.value)


def test_logits_of_other_images_than_the_evaluation_are_refused(folder: RunFolder) -> None:
    folder.write(logits_file("base"), kept_for(folder.path.name).to_bytes())
    with pytest.raises(DamagedError, match="it has 4 images, and the evaluation 5"):
        read_logits(folder, EVALUATION.model_copy(update={"images": 5}))
    with pytest.raises(DamagedError, match="of other images than the evaluation"):
        read_logits(folder, EVALUATION.model_copy(update={"pictures_hash": "other"}))


def test_what_is_no_file_is_never_waited_for(folder: RunFolder, tmp_path: Path) -> None:
    path = folder.path / logits_file("base")
    os.mkfifo(path)
    with pytest.raises(DamagedError, match="no regular file"):
        read_logits(folder, EVALUATION)
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedError, match="no regular file"):
        read_logits(folder, EVALUATION)
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DamagedError, match="leads nowhere"):
        read_logits(folder, EVALUATION)

"""Options in the official spelling, and vector files that are damaged or foreign: one line that names the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.errors import UserError
from harness.reference.parity.naming import find_method, read_config
from harness.reference.parity.replay import check_folder
from harness.reference.parity.vectors import Vectors
from methods.clap import CLAP
from methods.gda import GDA
from methods.zs_lp import ZSLP

Change = Callable[[dict[str, Any], dict[str, Tensor]], None]


@pytest.fixture
def folder_of(golden: Path, tmp_path: Path) -> Callable[..., Path]:
    """One method's vectors in a folder of their own, changed: folder_of(name, change) with change(about, tensors)."""

    def make(name: str, change: Change = lambda about, tensors: None) -> Path:
        for file in ("clip_tiny.safetensors", "inputs.safetensors"):
            shutil.copy(golden / file, tmp_path / file)
        about = json.loads((golden / f"{name}.json").read_text())
        tensors = load_file(golden / f"{name}.safetensors")
        change(about, tensors)
        (tmp_path / f"{name}.json").write_text(json.dumps(about))
        save_file(tensors, tmp_path / f"{name}.safetensors")
        return tmp_path

    return make


def with_options(**options: Any) -> Change:
    """A change of official options, by the last part of their names."""

    def change(about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        given = about["hyper"]["method_options"]
        full = {name.rpartition(".")[2]: name for name in given}
        given.update({full.get(name, name): value for name, value in options.items()})

    return change


def config_of(folder: Path, name: str) -> Any:
    vectors = Vectors(folder / f"{name}.json")
    cls = find_method(vectors)
    assert cls is not None
    return read_config(cls, vectors)


@pytest.mark.parametrize("spelled", ["", "none", "None", None])
@pytest.mark.parametrize("name", ["cocoop", "coop_init", "maple"])
def test_no_words_to_start_from(name: str, spelled: str | None, folder_of: Callable[..., Path]) -> None:
    assert config_of(folder_of(name, with_options(CTX_INIT=spelled)), name).ctx_init is None


def test_a_context_without_words_is_replayed(folder_of: Callable[..., Path]) -> None:
    comparisons, _ = check_folder(folder_of("cocoop", with_options(CTX_INIT="")))
    # A context that is drawn has no official value: it takes the stored one.
    assert [item.quantity for item in comparisons if not item.passed] == []


def test_words_and_numbers_in_other_spellings(folder_of: Callable[..., Path]) -> None:
    config = config_of(folder_of("cocoop", with_options(CTX_INIT="a_photo_of_a", N_CTX=4.0)), "cocoop")
    assert (config.ctx_init, config.n_ctx) == ("a photo of a", 4)
    config = config_of(folder_of("tip_adapter", with_options(SEARCH_SCALE=[3, 2.5], INIT_BETA=2)), "tip_adapter")
    assert (config.search_scale, config.init_beta) == ((3.0, 2.5), 2.0)
    assert config_of(folder_of("taskres", with_options(ENHANCED_BASE="None")), "taskres").enhanced_base is None


def test_the_base_is_a_tensor_of_the_file(folder_of: Callable[..., Path]) -> None:
    def without(about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        del tensors["const.enhanced_weight"], about["tensors"]["const.enhanced_weight"]

    with pytest.raises(UserError, match=r"taskres_enhanced\.json.*a tensor 'const.enhanced_weight'"):
        check_folder(folder_of("taskres_enhanced", without))


def test_options_tell_methods_of_one_trainer_apart(golden: Path, folder_of: Callable[..., Path]) -> None:
    assert find_method(Vectors(golden / "zs_lp.json")) is ZSLP
    assert find_method(Vectors(golden / "clap.json")) is CLAP
    for option in ({"CONSTRAINT": "adaptative"}, {"INIT": "random"}):
        folder = folder_of("clap", with_options(**option))
        assert find_method(Vectors(folder / "clap.json")) is None


def test_a_trainer_implies_options(golden: Path) -> None:
    for name, covariance in (("gda", "pooled"), ("gda_base2new", "class_mean")):
        vectors = Vectors(golden / f"{name}.json")
        assert find_method(vectors) is GDA
        assert read_config(GDA, vectors).covariance == covariance


def test_vectors_of_other_methods_are_listed(golden: Path, folder_of: Callable[..., Path]) -> None:
    def foreign(about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        about["official_trainer"] = "SomebodysTrainer"

    folder = folder_of("gda", foreign)
    shutil.copy(golden / "zeroshot.json", folder / "zeroshot.json")
    shutil.copy(golden / "zeroshot.safetensors", folder / "zeroshot.safetensors")
    comparisons, unknown = check_folder(folder)
    assert unknown == ["gda"]
    assert {item.method for item in comparisons} == {"zeroshot"}


def optimizer(**settings: Any) -> Change:
    def change(about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        about["hyper"]["optimizer"].update(settings)

    return change


def described(**parts: Any) -> Change:
    def change(about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        about.update(parts)

    return change


def stored(name: str, value: Tensor | None, tell: bool = True) -> Change:
    def change(about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        tensors.pop(name, None)
        if value is not None:
            tensors[name] = value
        if tell:
            about["tensors"].pop(name, None)

    return change


DAMAGES: dict[str, tuple[str, Change, str]] = {
    "option unknown": ("gda", with_options(SHRINKAGE=1), "official option SHRINKAGE has no counterpart in GDA"),
    "option of a wrong type": ("gda", with_options(ALPHAS="many"), "official option ALPHAS"),
    "option empty": ("gda", with_options(ALPHAS=[]), "official option ALPHAS"),
    "views": ("gda", with_options(VIEWS=0), "VIEWS=0 is no positive whole number"),
    "size of batches": ("clap", with_options(BATCH_SIZE="all"), "BATCH_SIZE=all is no positive whole number"),
    "optimizer": ("taskres", optimizer(name="Lion"), "no optimizer 'Lion'"),
    "schedule": ("prolip", optimizer(scheduler={"name": "StepLR"}), "no schedule 'StepLR'"),
    "momentum": ("clap", optimizer(momentum=2), "momentum|less than 1"),
    "rate of nobody": ("taskres", optimizer(lr="const.lr"), "a learning rate 'const.lr', and holds none"),
    "rate": ("taskres", optimizer(lr=None), "hyper.optimizer.lr"),
    "order": ("tip_adapter_f", optimizer(batch_order=[0, 1, 9, 0, 1, 2]), "cannot be replayed with TipAdapterF"),
    "number of steps": ("tip_adapter_f", optimizer(batch_order=[0, 1]), "2 training steps, and holds 6 losses"),
    "view": ("prolip", optimizer(view_order=[7] * 6), "cannot be replayed with ProLIP"),
    "no prompts": ("gda", described(prompts_base=[]), "prompts_base"),
    "prompts are no list": ("gda", described(prompts_base="cat"), "prompts_base"),
    "other prompts": ("gda", described(prompts_base=["cat"]), "labels beyond its 1 classes"),
    "no files": ("gda", described(files={}), "files.backbone"),
    "logit scale": ("gda", described(hyper={"logit_scale": -1}), "hyper.logit_scale"),
    "missing backbone": (
        "gda",
        described(files={"backbone": "x", "inputs": "inputs.safetensors", "tensors": "gda.safetensors"}),
        "cannot be replayed with GDA: FileNotFoundError",
    ),
    "tensor missing": ("gda", stored("const.W", None, tell=False), "const.W is missing"),
    "tensor of another shape": ("gda", stored("const.W", torch.zeros(3), tell=False), r"const.W has shape \[3\]"),
    "no labels of validation": ("gda", stored("eval_labels", None), "a search needs eval_labels"),
    "too few labels": ("gda", stored("fs_labels", torch.zeros(3, dtype=torch.int64)), "fs_labels has shape"),
    "labels beyond the classes": ("gda", stored("fs_labels", torch.full((12,), 6)), "labels beyond its 6 classes"),
    "no losses": ("clap", stored("train_losses", None), "cannot be replayed with CLAP: KeyError"),
    "initial weights of another shape": (
        "clap",
        stored("init.adapter.prototypes", torch.zeros(2, 2)),
        "cannot be replayed with CLAP",
    ),
    "order of an epoch": ("clap", stored("epoch_order", torch.full((2, 36), 99)), "cannot be replayed with CLAP"),
    "weights of nobody": ("clap", stored("init.adapter.bias", torch.zeros(2)), "no counterpart of the official tensor"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_vectors_are_told_in_a_line(damage: str, folder_of: Callable[..., Path]) -> None:
    name, change, message = DAMAGES[damage]
    with pytest.raises(UserError, match=message) as caught:
        check_folder(folder_of(name, change))
    assert f"{name}.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"{", b'{"official_trainer": 3}', b"\xff\xfe"])
def test_a_file_that_is_no_description(content: bytes, folder_of: Callable[..., Path]) -> None:
    folder = folder_of("gda")
    (folder / "gda.json").write_bytes(content)
    with pytest.raises(UserError, match=r"gda\.json is not a complete vector file"):
        check_folder(folder)


def test_a_file_of_tensors_that_is_none(folder_of: Callable[..., Path]) -> None:
    folder = folder_of("gda")
    (folder / "gda.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"gda\.json is not a complete vector file: gda\.safetensors"):
        check_folder(folder)

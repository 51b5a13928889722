"""A run is known by what stands in its files, not by where they lie; a changed file never passes for a finished run."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from harness.clip.backbones import bundled
from harness.data.datasets import read_dataset
from harness.errors import UserError
from harness.experiment.content import backbone_content, dataset_content, index_content, weights_digest
from harness.experiment.spec import RunSpec
from harness.machine import digests
from tests.commands import forget_files

Make = Callable[..., RunSpec]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four class folders of four pictures each."""
    root = tmp_path / "own"
    for number, name in enumerate(("ant", "bee", "cat", "dog")):
        (root / name).mkdir(parents=True)
        for shade in range(4):
            Image.new("RGB", (8, 8), (60 * number, 60 * shade, 0)).save(root / name / f"{shade}.bmp")
    return root


def content(folder: Path) -> str:
    forget_files()
    return dataset_content(f"folder:{folder}")


def trained_on(make_spec: Make, folder: Path) -> RunSpec:
    spec = make_spec("skip")
    return spec.model_copy(update={"data": spec.data.model_copy(update={"dataset": f"folder:{folder}"})})


def add_class(folder: Path) -> None:
    shutil.copytree(folder / "ant", folder / "emu")


def add_picture(folder: Path) -> None:
    shutil.copy(folder / "ant/0.bmp", folder / "ant/9.bmp")


def remove_picture(folder: Path) -> None:
    (folder / "bee/1.bmp").unlink()


def other_picture_of_the_same_size(folder: Path) -> None:
    Image.new("RGB", (8, 8), (255, 255, 255)).save(folder / "cat/2.bmp")


def swap_two_pictures(folder: Path) -> None:
    one, other = folder / "ant/0.bmp", folder / "bee/0.bmp"
    one.rename(folder / "kept"), other.rename(one), (folder / "kept").rename(other)


def rename_picture(folder: Path) -> None:
    (folder / "dog/3.bmp").rename(folder / "dog/4.bmp")


def name_classes(folder: Path) -> None:
    (folder / "classnames.txt").write_text("ant an ant\n")


def give_template(folder: Path) -> None:
    (folder / "template.txt").write_text("a drawing of a {}.\n")


CHANGES = [
    add_class,
    add_picture,
    remove_picture,
    other_picture_of_the_same_size,
    swap_two_pictures,
    rename_picture,
    name_classes,
    give_template,
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_in_a_folder_makes_another_data_set(
    folder: Path, change: Callable[[Path], None], make_spec: Make
) -> None:
    before, spec = content(folder), trained_on(make_spec, folder)
    id_before = spec.id
    assert content(folder) == before
    change(folder)
    assert content(folder) != before
    assert spec.id != id_before


def test_a_folder_is_the_same_data_set_wherever_it_lies(folder: Path, tmp_path: Path, make_spec: Make) -> None:
    moved = tmp_path / "elsewhere" / "with spaces"
    shutil.copytree(folder, moved)
    (moved / ".DS_Store").write_text("no picture")
    assert content(folder) == content(moved)
    ids = [trained_on(make_spec, place).id for place in (folder, moved)]
    assert ids[0] == ids[1] != make_spec("skip").id


def test_large_folders_are_known_by_names_and_sizes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.datasets.SMALL", 0)

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("harness.data.datasets.file_digest", refuse)
    before = content(folder)
    with (folder / "ant/0.bmp").open("ab") as file:
        file.write(b"one more byte")
    assert content(folder) != before


def test_evaluations_are_known_by_content_too(folder: Path, make_spec: Make) -> None:
    spec = make_spec("skip")
    items = tuple(item.model_copy(update={"dataset": f"folder:{folder}"}) for item in spec.evaluate)
    elsewhere = spec.model_copy(update={"evaluate": items})
    before = elsewhere.id
    add_picture(folder)
    forget_files()
    assert elsewhere.id != before != spec.id


def test_a_checkpoint_is_known_by_its_content_with_everything_beside_it(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny.parent, copy)
    file = copy / tiny.name
    before = backbone_content(str(tiny))
    assert backbone_content(str(file)) == before
    config = json.loads(file.with_suffix(".json").read_text())
    for changed in (
        file,
        file.with_suffix(".json"),
        copy / config["text_cfg"]["tokenizer_kwargs"]["bpe_path"],
    ):
        kept = changed.read_bytes()
        changed.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert backbone_content(str(file)) != before, changed
        changed.write_bytes(kept)
    assert backbone_content(str(file)) == before


def test_a_model_with_a_checkpoint_is_known_by_both(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"some weights")
    small, large = (backbone_content(f"{model}:{file}") for model in ("ViT-B-32", "ViT-B-16"))
    assert small != large
    assert "weights.pt" not in small
    file.write_bytes(b"more weights")
    assert backbone_content(f"ViT-B-32:{file}") != small


def test_weights_in_several_files_are_known_by_all_of_them(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    files = [tmp_path / name for name in ("1.safetensors", "2.safetensors")]
    for file in files:
        file.write_bytes(b"weights")
    backbone = f"ViT-B-32:{index}"
    identities, digests = {backbone_content(backbone)}, {weights_digest(backbone)}
    for number, file in enumerate(files):
        file.write_bytes(b"others %d" % number)
        forget_files()
        identities.add(backbone_content(backbone))
        digests.add(weights_digest(backbone))
    assert len(identities) == len(digests) == 3
    assert weights_digest("ViT-B-32:random") is None


@pytest.mark.parametrize("name", [*bundled(), "ViT-B-16", "ViT-B-16:random", "ViT-B-16:openai", "/nowhere/x.pt"])
def test_names_stand_for_themselves(name: str) -> None:
    assert backbone_content(name) == name


def test_data_sets_by_name_stand_for_themselves() -> None:
    assert dataset_content("emoji") == "emoji"


def test_an_index_is_read_anew(tmp_path: Path) -> None:
    index = tmp_path / "sample.json"
    index.write_text("[1]")
    before = index_content(str(index))
    index.write_text("[2]")
    assert index_content(str(index)) != before
    with pytest.raises(UserError, match=r"data\.index='/nowhere' cannot be read"):
        index_content("/nowhere")


@pytest.mark.parametrize("place", ["pipe", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="it is no regular file"):
        index_content(str(tmp_path / place))


def test_a_large_file_is_read_once_and_again_when_it_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "LARGE", 4)
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    read: list[str] = []
    really = digests.read_digest
    monkeypatch.setattr(digests, "read_digest", lambda path: read.append(path) or really(path))
    file = tmp_path / "weights.pt"
    file.write_bytes(b"a" * 100)
    first = digests.file_digest(file)
    assert digests.file_digest(file) == first
    assert len(read) == 1
    state = file.stat()
    other = tmp_path / "other"
    other.write_bytes(b"b" * 100)
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(file)  # same size and time: what differs is the file itself
    assert digests.file_digest(file) != first
    file.write_bytes(b"c" * 100)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert digests.file_digest(file) == digests.read_digest(str(file))


def test_a_file_that_was_just_written_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "LARGE", 4)
    file = tmp_path / "weights.pt"
    file.write_bytes(b"a" * 100)
    digests.file_digest(file)
    assert digests.read_memory() == {}


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', "null", "\x00"])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digests.memory_file().parent.mkdir()
    digests.memory_file().write_text(text)
    assert digests.read_memory() == {}


def test_ids_of_committed_results_stay() -> None:
    from harness.results.index import stored_runs

    results = Path(__file__).parents[3] / "results/embedded"
    runs = [run.result for run in stored_runs(results)]
    assert len(runs) == 88 + 264 + 176
    assert [run.spec.id for run in runs if run] == [run.id for run in runs if run]
    assert read_dataset("emoji").sources


def test_a_file_of_weights_is_known_by_its_content(tmp_path: Path, make_spec: Make) -> None:
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    one.write_bytes(b"some weights")

    def spec(path: Path | None) -> RunSpec:
        return make_spec("taskres", f"taskres.enhanced_base={path or 'null'}")

    first = spec(one)
    assert first.id not in (spec(None).id, make_spec("taskres", "taskres.residual_scale=1").id)
    assert str(tmp_path) not in json.dumps(first.identity())
    assert first.settings()["taskres"]["enhanced_base"] == str(one)
    other.write_bytes(b"some weights")
    assert spec(other).id == first.id
    other.write_bytes(b"more weights")
    assert spec(other).id != first.id


@pytest.mark.parametrize("place", ["nowhere.pt", "pipe", "folder"])
def test_a_file_of_weights_that_cannot_be_read(tmp_path: Path, make_spec: Make, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    spec = make_spec("taskres").model_copy(update={"options": {"enhanced_base": str(tmp_path / place)}})
    with pytest.raises(UserError, match=rf"^taskres\.enhanced_base='.*{place}' cannot be read: "):
        spec.identity()

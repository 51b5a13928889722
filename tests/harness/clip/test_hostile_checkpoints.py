"""Damaged and hostile checkpoints and configurations: they load, or one line names the file. No code of theirs runs."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.clip.backbones import blocks_of, parse_backbone
from harness.clip.checkpoints import read_checkpoint
from harness.clip.load import build_without_weights, load_backbone
from harness.errors import UserError

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def plain(call: Callable[[], object], path: Path) -> str | None:
    """None if a call succeeds, otherwise the one line of its error, which names the file."""
    try:
        call()
    except UserError as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    assert path.name in message
    return message


def told(call: Callable[[], object], path: Path) -> str:
    message = plain(call, path)
    assert message
    return message


@pytest.fixture
def contents(tiny: Path) -> dict[str, bytes]:
    """The same small checkpoint in each format."""
    state = {"visual.proj": torch.ones(4, 4), "logit_scale": torch.tensor(1.0)}
    buffers = {name: io.BytesIO() for name in ("zip.pt", "old.pth", "script.pt")}
    torch.save(state, buffers["zip.pt"])
    torch.save(state, buffers["old.pth"], _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffers["script.pt"])
    return {name: buffer.getvalue() for name, buffer in buffers.items()} | {"x.safetensors": tiny.read_bytes()[:20000]}


@few
@given(data=st.data())
def test_damaged_checkpoints(contents: dict[str, bytes], tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(contents)))
    content = bytearray(contents[name])
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for position, value in data.draw(st.dictionaries(st.integers(0, 3000), st.integers(0, 255), max_size=4)).items():
        if position < len(content):
            content[position] = value
    path = tmp_path / name
    path.write_bytes(content)
    plain(lambda: read_checkpoint(path), path)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.pth", "x.bin", "x.ckpt", "model.pth.tar-5"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"\xff" * 100,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"<!DOCTYPE html>",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        b"PK\x03\x04" + b"\x00" * 50,
        b"\x80\x02" + b"(" * 10_000,
    ],
    ids=["empty", "zeros", "ones", "pointer", "page", "huge header", "list", "zip", "deep"],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    told(lambda: read_checkpoint(path), path)
    told(lambda: load_backbone(str(path)), path)
    told(lambda: load_backbone(f"ViT-B-16-quickgelu:{path}"), path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(2), "it holds a Tensor, not names and tensors"),
        ([torch.ones(2)], "it holds a list"),
        (3, "it holds a int"),
        (None, "it holds a NoneType"),
        ({}, "it is empty"),
        ({"state_dict": {}}, "'state_dict' of checkpoint"),
        ({"a": {"b": torch.ones(1)}}, "'a' is a dict, not a name with a tensor"),
        ({1: torch.ones(1)}, "1 is a Tensor"),
        ({"epoch": 3, "w": torch.ones(1)}, "'epoch' is a int"),
        ({"state_dict": [1]}, "'state_dict' is a list"),
        ({"w": torch.ones(2).to_sparse()}, "sparse"),
        ({"w": torch.empty(2, device="meta")}, "without values"),
        ({"\ud800\n": 1}, r"'\\ud800\\n' is a int"),
    ],
)
def test_files_without_a_state_dict(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "x.pt"
    torch.save(content, path)
    assert message.replace("\\\\", "\\") in told(lambda: load_backbone(str(path)), path)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.target), "w")


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.bin", "x.ckpt", "model.pth.tar-5", "x.safetensors"])
@pytest.mark.parametrize("form", ["torch", "old torch", "pickle", "archive"])
def test_no_code_of_a_checkpoint_is_run(tmp_path: Path, name: str, form: str) -> None:
    path, target = tmp_path / name, tmp_path / "written"
    content = {"state_dict": {"w": Payload(target)}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    elif form == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", pickle.dumps(content, protocol=2))
            archive.writestr("x/code/__torch__.py", "")
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    told(lambda: load_backbone(str(path)), path)
    told(lambda: load_backbone(f"ViT-B-16-quickgelu:{path}"), path)
    assert not target.exists()


class Restoring(torch.nn.Module):
    """A module whose TorchScript writes a file when torch.jit.load restores it."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.weight = torch.nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self) -> tuple[str, torch.Tensor, bool]:
        return self.target, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
        self.target = state[0]
        self.weight = state[1]
        self.training = state[2]
        torch.save(state[1], state[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def test_the_code_of_a_torchscript_archive_is_not_run(tmp_path: Path) -> None:
    path, target = tmp_path / "x.pt", tmp_path / "written"
    torch.jit.save(torch.jit.script(Restoring(str(target))), path)
    told(lambda: load_backbone(str(path)), path)
    assert not target.exists()
    torch.jit.load(path)
    assert target.exists(), "torch.jit.load has become harmless: harness/clip/torchscript.py can be deleted"


def test_pipes_devices_and_links_to_nowhere_do_not_hang(tmp_path: Path, tiny: Path) -> None:
    pipe = tmp_path / "pipe.pt"
    os.mkfifo(pipe)
    link = tmp_path / "link.pt"
    link.symlink_to(tmp_path / "nowhere.pt")
    zero = tmp_path / "zero.pt"
    zero.symlink_to("/dev/zero")
    for path, message in ((pipe, "no regular file"), (zero, "no regular file"), (link, "does not exist")):
        assert message in told(lambda: load_backbone(str(path)), path)  # noqa: B023
        assert message in told(lambda: load_backbone(f"ViT-B-16:{path}"), path)  # noqa: B023
    # A configuration that is no file counts as none.
    shutil.copy(tiny, tmp_path / "x.safetensors")
    os.mkfifo(tmp_path / "x.json")
    unconfigured = tmp_path / "x.safetensors"
    assert "does not say which activation" in told(lambda: load_backbone(str(unconfigured)), unconfigured)


@pytest.fixture
def beside(tiny: Path, tmp_path: Path) -> Callable[[str | bytes], tuple[str, Path]]:
    """Put a configuration beside a copy of the tiny checkpoint: its content -> the backbone and the file."""
    for path in tiny.parent.iterdir():
        shutil.copy(path, tmp_path)

    def write(content: str | bytes) -> tuple[str, Path]:
        file = tmp_path / "tiny.json"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / "tiny.safetensors"), file

    return write


BASE = '{"embed_dim": 32, "vision_cfg": %s, "text_cfg": %s}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON: Expecting value"),
        ("[1, 2]", "is a list, not an object with embed_dim"),
        ("null", "is a NoneType"),
        ('{"embed_dim": 32', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"\x00" * 10, "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a":' * 50_000, "is nested too deeply"),
        (" " * (2**20 + 1), "is larger than 1 MiB"),
        ('{"embed_dim": NaN}', "NaN is no number"),
        ('{"embed_dim": 1, "embed_dim": 2}', "the key 'embed_dim' stands twice"),
        ("{}", "the key 'embed_dim' is missing"),
        ('{"embed_dim": 32, "vision_cfg": {}}', "the key 'text_cfg' is missing"),
        ('{"model_cfg": {"embed_dim": 32}}', "the key 'model_cfg.vision_cfg' is missing"),
        ('{"model_cfg": 3}', "'model_cfg': input should be"),
        (BASE % ("[]", "{}"), "'vision_cfg': input should be"),
        (BASE % ('{"layers": -1}', "{}"), "'vision_cfg.layers': input should be greater than or equal to 1, not -1"),
        (BASE % ('{"layers": "2"}', "{}"), "'vision_cfg.layers': input should be a valid integer, not '2'"),
        (BASE % ('{"width": true}', "{}"), "'vision_cfg.width': input should be a valid integer, not True"),
        (BASE % ('{"width": 1e400}', "{}"), "'vision_cfg.width'"),
        (BASE % ('{"widht": 32}', "{}"), "unknown key 'vision_cfg.widht'. Did you mean 'width'?"),
        (BASE % ("{}", '{"heads": 0}'), "'text_cfg.heads'"),
        (BASE % ("{}", '{"heads": 7}'), "width 512 is no multiple of heads 7"),
        (BASE % ('{"head_width": 7}', "{}"), "width 768 is no multiple of head_width 7"),
        (BASE % ('{"image_size": 8}', "{}"), "patch_size 16 is larger than image_size 8"),
        (BASE % ('{"layers": [1, 1, 1], "width": 8}', "{}"), "'vision_cfg.layers'"),
        (BASE % ('{"layers": [1, 1, 1, 1], "width": 9}', "{}"), "a ResNet needs an even width"),
        (BASE % ('{"layers": [1, 1, 1, 1], "width": 8, "head_width": 48}', "{}"), "as a multiple of head_width 48"),
        (BASE % ('{"layers": [1, 1, 1, 1], "image_size": 100}', "{}"), "a multiple of 32, not 100"),
        (BASE % ("{}", '{"tokenizer_kwargs": {"x": 1}}'), "unknown key 'text_cfg.tokenizer_kwargs.x'"),
        (BASE % ("{}", '{"context_length": 99999999}'), "'text_cfg.context_length'"),
        (BASE % ('{"norm_kwargs": {"eps": 0}}', "{}"), "'vision_cfg.norm_kwargs.eps'"),
        (BASE % ('{"\\ud800\\n\\u202e": 1}', "{}"), "text that is no Unicode"),
    ],
)
def test_damaged_configurations(beside: Any, content: str | bytes, message: str) -> None:
    text, file = beside(content)
    for call in (load_backbone, build_without_weights, lambda text: blocks_of(parse_backbone(text))):
        assert message in told(lambda: call(text), file)  # noqa: B023


@pytest.mark.parametrize(
    ("vision", "text", "message"),
    [
        ('{"timm_model_name": "x"}', "{}", "timm's 'x'"),
        ('{"pool_type": "avg"}', "{}", "pools by 'avg'"),
        ('{"attentional_pool": true}', "{}", "pools by attention"),
        ('{"patch_dropout": 0.5}', "{}", "drops patches"),
        ('{"image_size": [224, 112]}', "{}", "not square"),
        ('{"qk_norm": true}', "{}", "its blocks are not CLIP's"),
        ('{"output_tokens": true}', "{}", "return all tokens"),
        ('{"final_ln_after_pool": true}', "{}", "normalises after pooling"),
        ("{}", '{"hf_model_name": "x"}', "'x' of transformers"),
        ("{}", '{"no_causal_mask": true}', "not causal"),
        ("{}", '{"embed_cls": true}', "class token"),
        ("{}", '{"pool_type": "last"}', "reads 'last'"),
        ("{}", '{"proj_type": "none"}', "no plain matrix"),
        ("{}", '{"proj_bias": true}', "no plain matrix"),
    ],
)
def test_configurations_of_other_architectures(beside: Any, vision: str, text: str, message: str) -> None:
    backbone, file = beside(BASE % (vision, text))
    found = told(lambda: load_backbone(backbone), file)
    assert "is not supported: " in found
    assert message in found


@few
@given(st.data())
def test_any_value_in_a_configuration(beside: Any, tiny: Path, data: st.DataObject) -> None:
    config = json.loads(tiny.with_suffix(".json").read_text())
    part = data.draw(st.sampled_from([config, config["vision_cfg"], config["text_cfg"], config["preprocess_cfg"]]))
    leaf = st.none() | st.booleans() | st.integers(-3, 50) | st.floats() | st.text(max_size=3)
    key = data.draw(st.sampled_from(sorted(part)) | st.text(max_size=3))
    part[key] = data.draw(leaf | st.lists(leaf, max_size=3) | st.dictionaries(st.text(max_size=2), leaf, max_size=2))
    text, file = beside(json.dumps(config))
    message = plain(lambda: blocks_of(parse_backbone(text)), file)
    if message is None:
        plain(lambda: load_backbone(text), file.parent)

"""Models of the hub: downloaded once from a hub on this machine, then used without it; each failure is one line."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import huggingface_hub
import open_clip
import pytest
from safetensors.torch import load_file, save_file

from harness.clip.backbones import files_of, parse_backbone
from harness.clip.hub import cached_folder, downloaded_folder
from harness.clip.load import load_backbone
from harness.clip.pretrained import ask_hub, fetch_weights
from harness.errors import UserError
from harness.experiment.content import backbone_content
from tests.model_hub import COMMIT, Hub, serving


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the tiny model as open_clip's hub stores it, some/clip, and an empty cache."""
    model = tmp_path / "hub/some/clip"
    model.mkdir(parents=True)
    config = json.loads(tiny.with_suffix(".json").read_text())
    preprocess = config.pop("preprocess_cfg")
    (model / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    shutil.copy(tiny, model / "open_clip_model.safetensors")
    shutil.copy(tiny.parent / "bpe_4k.txt.gz", model)
    (model / "README.md").write_text("never downloaded")
    constants = huggingface_hub.constants
    downloaded_folder.cache_clear()
    with serving(tmp_path / "hub") as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server
    downloaded_folder.cache_clear()


def told(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_backbone(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", ["hf-hub:some/clip", "hf-hub:some/clip@main", f"hf-hub:some/clip@{COMMIT}"])
def test_a_model_is_downloaded_once_and_then_used_without_the_hub(hub: Hub, tiny: Path, text: str) -> None:
    assert backbone_content(text) == text, "an identity is not worth a download"
    assert hub.asked == []
    clip = load_backbone(text)
    assert (clip.name, clip.num_blocks, clip.mean) == (text, 2, (0.75, 0.75, 0.75))
    asked = {"open_clip_config.json", "bpe_4k.txt.gz", "open_clip_model.safetensors", "preprocessor_config.json"}
    assert set(hub.asked) == asked
    hub.asked.clear()
    downloaded_folder.cache_clear()
    load_backbone(text)
    assert hub.asked == []
    files = ["open_clip_model.safetensors", "open_clip_config.json", "bpe_4k.txt.gz"]
    assert [path.name for path in files_of(text)[1]] == files
    copy = hub.root / "some/clip"
    assert backbone_content(text) == backbone_content(str(copy)), "the same files are the same model, wherever they lie"


def test_a_model_that_is_not_supported_is_refused_before_its_weights_are_downloaded(hub: Hub) -> None:
    file = hub.root / "some/clip/open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "vit_base_patch16_clip_224"
    file.write_text(json.dumps(config))
    assert "is not supported: its image tower is timm's 'vit_base_patch16_clip_224'" in told("hf-hub:some/clip")
    assert "open_clip_model.safetensors" not in hub.asked


def test_a_download_that_was_cut_off_goes_on(hub: Hub) -> None:
    weights = hub.root / "some/clip/open_clip_model.safetensors"
    weights.rename(hub.root / "kept")
    assert "'some/clip' on the hub has none of the files open_clip_model.safetensors" in told("hf-hub:some/clip")
    assert cached_folder("some/clip") is None
    (hub.root / "kept").rename(weights)
    assert parse_backbone("hf-hub:some/clip").checkpoint == Path(str(cached_folder("some/clip"))) / weights.name


def test_all_files_of_weights_in_several_files_are_downloaded(hub: Hub) -> None:
    model = hub.root / "some/clip"
    state = load_file(model / "open_clip_model.safetensors")
    (model / "open_clip_model.safetensors").unlink()
    places = {name: "1.safetensors" if name.startswith("visual.") else "2.safetensors" for name in state}
    for file in ("1.safetensors", "2.safetensors"):
        save_file({name: state[name] for name in state if places[name] == file}, model / file)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (model / "README.safetensors").write_text("never downloaded")
    assert load_backbone("hf-hub:some/clip").num_blocks == 2
    assert {"1.safetensors", "2.safetensors"} < set(hub.asked)
    assert "README.safetensors" not in hub.asked


def test_transformers_processor_is_asked_for_once(hub: Hub) -> None:
    model = hub.root / "some/clip"
    (model / "open_clip_config.json").unlink()
    (model / "config.json").write_text(json.dumps({"model_type": "clip"}))
    parse_backbone("hf-hub:some/clip")
    assert "preprocessor_config.json" in hub.asked
    hub.asked.clear()
    downloaded_folder.cache_clear()
    parse_backbone("hf-hub:some/clip")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf-hub:some/cilp", "the hub has no model 'some/cilp', or it is private: check the name, or log in"),
        ("hf-hub:some/gated", "'some/gated' on the hub asks for its terms to be accepted"),
        ("hf-hub:some/clip@v2", "'some/clip' on the hub has no revision 'v2'"),
        ("hf-hub:some/other/clip", "'some/other/clip' is no name on the hub: write hf-hub:organisation/name"),
        ("hf-hub:", "'' is no name on the hub"),
        ("hf_hub:some/clip", "Did you mean 'hf-hub:some/clip'?"),
        ("hf:some/clip", "Did you mean 'hf-hub:some/clip'?"),
        ("local_dir:/some/clip", "Did you mean 'local-dir:/some/clip'?"),
        (
            "some/clip",
            "no file or folder on this machine: for the model of that name on the hub, write hf-hub:some/clip",
        ),
        ("https://hub.example/some/clip/tree/main", "if it is a model's on the hub, write hf-hub:some/clip"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(hub: Hub, text: str, message: str) -> None:
    assert message in told(text)


def test_without_a_network_one_line_comes_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    message = told("hf-hub:some/clip")
    assert "is not in the hub's cache on this machine and cannot be downloaded (" in message
    assert message.endswith("connect to the network once, or give its folder, BACKBONE=/path/to/folder")


def test_weights_of_a_tag_are_asked_for_once_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tag: object) -> NoReturn:
        raise AssertionError("it tries for a minute")

    monkeypatch.setattr(open_clip, "download_pretrained", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"are not on this machine and cannot be downloaded \(ConnectError\)"):
        fetch_weights("ViT-B-16:laion2b_s34b_b88k")
    kept = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--some--clip/snapshots/1/x.safetensors"
    kept.parent.mkdir(parents=True)
    kept.touch()
    ask_hub("some/clip")
    ask_hub("")

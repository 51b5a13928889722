"""The record of a run: every form that earlier versions wrote is read, and nothing else is taken for one."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.experiment.settings import flat_settings
from harness.experiment.spec import ADDED_LATER, RunSpec
from harness.machine.costs import PhaseCosts
from harness.results.record import SCHEMA_VERSION, Costs, DamagedError, Result, parse_result, read_result
from harness.tracking.contents import summary_of
from tests.commands import ROOT, skipbench
from tests.made_up_results import a_result

EMBEDDED = sorted((ROOT / "results" / "embedded").glob("runs/*/result.json"))
EARLIER = sorted((ROOT / "tests/harness/results/earlier_versions").glob("*/result.json"))
"""Results of SkipBench 0.1 and of the first forms of 0.2, as they were committed once."""
SOURCE = Path("result.json")
Json = dict[str, Any]


def without_unknown(value: Any) -> Any:
    """The same without the keys that hold null or an empty list, as later versions do for what was not written."""
    if isinstance(value, dict):
        return {key: without_unknown(inner) for key, inner in value.items() if inner not in (None, [], {})}
    return [without_unknown(inner) for inner in value] if isinstance(value, list) else value


def without_spec(content: Json) -> Json:
    return {key: value for key, value in content.items() if key != "spec"}


def parse(content: Any) -> Result:
    return parse_result(json.dumps(content), SOURCE)


@pytest.fixture
def content() -> Json:
    """A result that SkipBench 0.1 wrote, of a run that trained."""
    found: Json = json.loads((ROOT / "tests/harness/results/earlier_versions/074d6c353adb/result.json").read_text())
    return found


def test_all_embedded_results_are_there() -> None:
    assert len(EMBEDDED) == 88 + 264 + 176


def test_results_of_earlier_forms_are_there_and_found_the_same() -> None:
    """The same runs were computed again since; of one of them, rounding changed one picture."""
    now = {path.parent.name: read_result(path) for path in EMBEDDED}
    assert len(EARLIER) == 16
    changed = {}
    for path in EARLIER:
        before = read_result(path)
        for item, again in zip(before.evaluations, now[before.id].evaluations, strict=True):
            if item.accuracy != again.accuracy:
                changed[before.spec.method, item.name] = round(abs(item.accuracy - again.accuracy) / 100 * item.images)
    assert changed == {("maple", "base"): 1}


@pytest.mark.parametrize("path", [*EARLIER, *EMBEDDED], ids=lambda path: f"{path.parents[1].name}-{path.parent.name}")
def test_a_committed_result_of_any_version_is_written_as_it_was(path: Path) -> None:
    before = json.loads(path.read_text())
    result = read_result(path)
    after = result.model_dump(mode="json")
    assert after.pop("schema_version") == before.pop("schema_version", 1)
    assert without_unknown(without_spec(after)) == without_unknown(without_spec(before))
    assert before.keys() <= after.keys()
    # The id is still the hash of the spec, and the spec is written with the same values. Settings of later versions are
    # at the defaults, which the first version stood for.
    assert result.spec.id == result.id == path.parent.name
    written, read = flat_settings(before["spec"]), flat_settings(after["spec"])
    assert {key: read[key] for key in written} == written
    later = [key.split(".") for key in read.keys() - written.keys()]
    no_result = ("runtime", "tracking")
    assert all(section in ADDED_LATER or section in no_result or key in ADDED_LATER for section, key in later)


def test_what_is_written_is_read_again(content: Json) -> None:
    result = parse(content).model_copy(update={"schema_version": SCHEMA_VERSION})
    assert parse_result(result.model_dump_json(), SOURCE) == result


# What earlier forms did not have: where, the keys, and what a result holds then.
ABSENT: list[tuple[str, Callable[[Json], Json], tuple[str, ...], Callable[[Result], object], object]] = [
    ("alone", lambda content: content["costs"], ("alone",), lambda result: result.costs.alone, None),
    (
        "cache",
        lambda content: content["costs"],
        ("cache_location", "cache_bytes"),
        lambda result: (result.costs.cache_location, result.costs.cache_bytes),
        (None, 0),
    ),
    (
        "template",
        lambda content: content["evaluations"][0],
        ("template", "layout", "broken_images"),
        lambda result: [getattr(result.evaluations[0], key) for key in ("template", "layout", "broken_images")],
        [None, (), 0],
    ),
    (
        "accuracies of classes",
        lambda content: content["evaluations"][0],
        ("per_class", "ece", "images"),
        lambda result: [getattr(result.evaluations[0], key) for key in ("per_class", "ece", "images")],
        [{}, None, 0],
    ),
    ("layout", lambda content: content, ("layout",), lambda result: result.layout, ()),
    ("sample", lambda content: content, ("sample",), lambda result: result.sample, None),
    (
        "broken images",
        lambda content: content["sample"],
        ("broken_images",),
        lambda result: result.sample.broken_images,  # type: ignore[union-attr]
        (),
    ),
    (
        "facts",
        lambda content: content,
        ("method_facts", "interruptions", "weights_sha256", "transform_hash", "name"),
        lambda result: (result.method_facts, result.interruptions, result.weights_sha256, result.name),
        ({}, 0, None, ""),
    ),
    (
        "settings of training",
        lambda content: content["spec"]["train"],
        ("validate_every", "cache_batch_size"),
        lambda result: (result.spec.train.validate_every, result.spec.train.cache_batch_size),
        (None, None),
    ),
    (
        "settings of data",
        lambda content: content["spec"]["data"],
        ("held_out", "index", "skip_broken"),
        lambda result: (result.spec.data.held_out, result.spec.data.index, result.spec.data.skip_broken),
        (None, None, False),
    ),
    (
        "sections of the spec",
        lambda content: content["spec"],
        ("tuned", "wandb", "runtime"),
        lambda result: (result.spec.tuned, result.spec.wandb.group, result.spec.runtime.device_shared),
        (None, None, False),
    ),
    (
        "environment",
        lambda content: content["environment"],
        ("git_commit", "git_changed", "cuda", "safetensors"),
        lambda result: (result.environment.git_commit, result.environment.cuda),
        (None, None),
    ),
]


@pytest.mark.parametrize(
    ("where", "keys", "found", "expected"), [case[1:] for case in ABSENT], ids=[c[0] for c in ABSENT]
)
def test_what_an_earlier_form_did_not_have_is_unknown(
    where: Callable[[Json], Json],
    keys: tuple[str, ...],
    found: Callable[[Result], object],
    expected: object,
    content: Json,
) -> None:
    before = copy.deepcopy(content)
    for key in keys:
        assert key in where(content), "the form of 0.1 had it"
        del where(content)[key]
    result = parse(content)
    assert found(result) == expected
    assert result.accuracies == parse(before).accuracies


@pytest.fixture
def oldest(content: Json) -> Json:
    """The same result in a form that lacks all of it."""
    for _, where, keys, _, _ in ABSENT:
        # The sample is a part that others are in.
        for key in keys if keys != ("sample",) else ():
            where(content).pop(key, None)
    for item in content["evaluations"]:
        for key in ("template", "layout", "broken_images"):
            item.pop(key, None)
    return content


def test_the_oldest_form_is_in_tables_page_and_export(oldest: Json, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / oldest["id"]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(oldest))
    accuracy = f"{oldest['evaluations'][1]['accuracy']:.2f}"
    for command in ("table", "figures", "report", "export", "runs"):
        done = skipbench(command, "--results", str(tmp_path))
        assert (done.returncode, done.stderr) == (0, ""), command
        if command in ("table", "runs"):
            assert accuracy in done.stdout
    assert accuracy in (tmp_path / "reports" / "results.html").read_text()
    done = skipbench("show", oldest["id"][:6], "--results", str(tmp_path))
    assert accuracy in done.stdout
    assert "not measured alone" not in done.stdout
    assert summary_of(parse(oldest))["accuracy/new"] == oldest["evaluations"][1]["accuracy"]


def test_keys_of_other_versions_are_ignored(content: Json) -> None:
    before = parse(content)
    for part in (content, content["costs"], content["evaluations"][0], content["sample"]):
        part["of_tomorrow"] = {"a": [1]}
    content["costs"]["phases"]["train"]["joules"] = 3.5
    assert parse(content) == before


def test_an_unknown_setting_is_not_ignored_for_it_may_decide_the_result(content: Json) -> None:
    content["spec"]["train"]["of_tomorrow"] = 1
    with pytest.raises(DamagedError) as caught:
        parse(content)
    assert str(caught.value) == (
        "'result.json' has the setting 'train.of_tomorrow', which this version of SkipBench does not know: "
        "update SkipBench"
    )


@pytest.mark.parametrize("changed", [{}, {"evaluations": "in another form"}, {"spec": None, "costs": []}])
def test_a_later_form_is_refused_in_one_line(changed: Json, content: Json) -> None:
    with pytest.raises(DamagedError) as caught:
        parse({**content, "schema_version": 7, **changed})
    assert str(caught.value) == (
        "'result.json' was written by a later version of SkipBench (schema 7, this version reads up to "
        f"{SCHEMA_VERSION}): update SkipBench"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "Invalid JSON: EOF"),
        (b'{"id": ', "Invalid JSON: EOF"),
        (b"[1, 2]", "Input should be an object"),
        (b"null", "Input should be an object"),
        (b'"text"', "Input should be an object"),
        (b"\xff\x00\xfe", "Invalid JSON"),
        (b'{"a": 1}', "id: Field required"),
        (b'{"schema_version": "new", "id": "a"}', "schema_version: Input should be a valid integer"),
    ],
)
def test_what_is_no_result_is_named_with_the_reason(text: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(text)
    with pytest.raises(DamagedError) as caught:
        read_result(path)
    message = str(caught.value)
    assert message.startswith(f"'{path}' is not the result of a run ({problem}")
    assert message.endswith("): remove its folder to compute the run again")
    assert "\n" not in message


def test_a_value_of_the_wrong_kind_is_named_by_its_place(content: Json) -> None:
    content["evaluations"][1]["accuracy"] = "high"
    with pytest.raises(DamagedError, match=r"\(evaluations\.1\.accuracy: Input should be a valid number"):
        parse(content)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_result_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(DamagedError, match=r"cannot be read \(Permission denied\): check its permissions"):
        read_result(path)


def test_a_result_that_is_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"cannot be read \(Is a directory\)"):
        read_result(tmp_path)


def test_costs_of_phases_together() -> None:
    phases = {
        "setup": PhaseCosts(seconds=1.0, peak_tensor_bytes=50),
        "cache": PhaseCosts(seconds=2.0, images=10, peak_tensor_bytes=30),
        "train": PhaseCosts(seconds=4.0, images=20, peak_tensor_bytes=40),
    }
    costs = Costs(phases=phases, train_flops_per_image=3.0, cache_flops_per_image=2.0)
    assert costs.seconds("cache", "train") == 6.0
    assert costs.seconds("evaluate") == 0.0
    assert costs.peak_bytes("cache", "train") == 40
    assert costs.peak_bytes("evaluate") is None
    assert costs.training_flops() == 2.0 * 10 + 3.0 * 20
    assert Costs(phases=phases).training_flops() == 0.0


def test_the_templates_of_all_evaluations_each_once(make_spec: Callable[..., RunSpec]) -> None:
    spec = make_spec("zeroshot")
    result = a_result(spec, {"base": 50.0, "new": 40.0}, {})
    assert result.template == ""
    base, new = result.evaluations
    for several, expected in ((("a {}.", "a {}."), "a {}."), (("a {}.", "b {}."), "a {}., b {}.")):
        items = [item.model_copy(update={"template": text}) for item, text in zip((base, new), several, strict=True)]
        assert result.model_copy(update={"evaluations": tuple(items)}).template == expected

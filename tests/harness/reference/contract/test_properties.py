"""The contract of a method: the shipped methods keep it, and a faulty one fails exactly the property that it breaks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.templates import OF_DATA_SETS
from harness.experiment.registry import method_class, method_names
from harness.reference.contract import properties
from harness.reference.contract.candidate import Candidate
from harness.reference.contract.equalities import equals_the_official_implementation
from harness.reference.contract.properties import FAILED, OK, PROPERTIES, REMARK, SKIPPED, check_contract, find_out
from tests.commands import ROOT
from tests.fitted_methods import HEAD, PROTOTYPES, SEARCHED
from tests.harness.reference.contract.faulty_fitted_methods import FITTED_FAULTS
from tests.harness.reference.contract.faulty_methods import FAULTS, GOOD, NAME, Fault, body
from tests.harness.reference.contract.faulty_taught_methods import TAUGHT_FAULTS

Add = Callable[..., Candidate]
UNTAUGHT = ["keeps its teacher frozen"]
"""What a method without a teacher is not asked."""
ESTIMATE = "estimate = measurement"
Outcomes = dict[str, tuple[str, str]]
"""Title -> state and words of every property."""


@pytest.fixture
def add(add_method: Callable[[str, str], None], tiny: Path) -> Add:
    """Add a method, to be checked on the tiny backbone: add(code)."""

    def put(code: str, name: str = NAME) -> Candidate:
        add_method(name, code)
        return Candidate(name, str(tiny))

    return put


@pytest.fixture
def without_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the check of the estimate, which takes half of the time."""
    kept = tuple(item for item in PROPERTIES if item.title != ESTIMATE)
    assert len(kept) == len(PROPERTIES) - 1
    monkeypatch.setattr(properties, "PROPERTIES", kept)


@pytest.fixture
def estimated_only_where_faulty(request: pytest.FixtureRequest) -> None:
    """Leave out the check of the estimate where the fault is another."""
    if request.getfixturevalue("fault").title != ESTIMATE:
        request.getfixturevalue("without_estimate")


def outcomes(candidate: Candidate) -> Outcomes:
    return {outcome.title: (outcome.state, outcome.words) for outcome in check_contract(candidate)}


def titles(found: Outcomes, state: str) -> list[str]:
    return [title for title, (is_state, _) in found.items() if is_state == state]


def test_a_method_that_keeps_the_contract_passes(add: Add) -> None:
    found = outcomes(add(GOOD))
    assert list(found) == [item.title for item in PROPERTIES]
    assert titles(found, FAILED) == titles(found, REMARK) == []
    assert titles(found, SKIPPED) == [
        "is fitted to the shots",
        "keeps its teacher frozen",
        "chooses on validation images",
        "equals the official code",
    ]


@pytest.mark.parametrize(
    ("name", "code", "skipped", "words"),
    [
        ("prototypes", PROTOTYPES, ["trains", *UNTAUGHT, "chooses on validation images", "resumes bit for bit"],
         {"is fitted to the shots": "192 numbers from 24 shots"}),
        ("searched", SEARCHED, ["trains", *UNTAUGHT, "resumes bit for bit"],
         {"chooses on validation images": "5 candidates of strength"}),
        ("head", HEAD, [*UNTAUGHT, "chooses on validation images"],
         {"is fitted to the shots": "192 numbers from 24 shots"}),
    ],
)  # fmt: skip
def test_fitted_and_choosing_methods_keep_it(
    name: str, code: str, skipped: list[str], words: dict[str, str], add: Add
) -> None:
    found = outcomes(add(code, name))
    assert titles(found, FAILED) == titles(found, REMARK) == []
    assert titles(found, SKIPPED) == [*skipped, "equals the official code"]
    assert {title: found[title][1] for title in words} == words


@pytest.mark.usefixtures("without_estimate")
def test_a_grid_may_begin_where_the_shots_do_not_count(add: Add) -> None:
    found = outcomes(add(SEARCHED.replace("0.25 * 2.0**step", "0.25 * step"), "searched"))
    assert titles(found, FAILED) == titles(found, REMARK) == []


@pytest.mark.usefixtures("without_estimate")
def test_a_method_may_import_another(add: Add) -> None:
    add(PROTOTYPES, "prototypes")
    child = '''"""Prototypes without the texts."""

from torch import Tensor

from methods.prototypes import Prototypes


class Alone(Prototypes):
    """s cos(f, mean of the class's images)."""

    def logits(self, x: Tensor, text: Tensor) -> Tensor:
        return self.similarity_logits(self.image_features(x), self.prototypes.to(text.dtype))
'''
    found = outcomes(add(child, "alone"))
    assert titles(found, FAILED) == titles(found, REMARK) == []
    assert found["is one documented class"] == (OK, "Alone")


@pytest.mark.usefixtures("without_estimate")
def test_a_method_may_refuse_few_shots_with_a_reason(add: Add) -> None:
    refusing = PROTOTYPES.replace("OtherClassesError, Shots", "OtherClassesError, Shots, TooFewShotsError").replace(
        "        images = ",
        "        if shots.per_class < 2:\n            raise TooFewShotsError('give two shots')\n        images = ",
    )
    found = outcomes(add(refusing, "prototypes"))
    assert titles(found, FAILED) == []
    assert found["takes one class, one image"] == (OK, "refuses one shot: give two shots")


@pytest.mark.usefixtures("estimated_only_where_faulty")
@pytest.mark.parametrize("fault", FITTED_FAULTS.values(), ids=FITTED_FAULTS)
def test_a_faulty_fitted_method_fails_the_property_that_it_breaks(fault: Fault, add: Add) -> None:
    found = outcomes(add(fault.code, "faulty"))
    assert titles(found, FAILED)[:1] == [fault.title]
    assert fault.words in found[fault.title][1]
    assert "\n" not in found[fault.title][1]


@pytest.mark.usefixtures("estimated_only_where_faulty")
@pytest.mark.parametrize("fault", (FAULTS | TAUGHT_FAULTS).values(), ids=FAULTS | TAUGHT_FAULTS)
def test_a_faulty_method_fails_exactly_the_property_that_it_breaks(fault: Fault, add: Add) -> None:
    found = outcomes(add(fault.code))
    assert {title: words for title, (state, words) in found.items() if state == FAILED}.keys() == {fault.title}
    assert fault.words in found[fault.title][1]
    assert "\n" not in found[fault.title][1]


def test_what_needs_a_broken_property_is_skipped_and_names_it(add: Add) -> None:
    found = outcomes(add(FAULTS["import error"].code))
    assert titles(found, OK) == ["has a usable name"]
    assert {words for state, words in found.values() if state == SKIPPED} == {
        "depends on 'can be imported', which failed"
    }


@pytest.mark.parametrize("name", ["Shift", "data"])
def test_a_name_that_settings_cannot_have_is_refused(name: str, add: Add) -> None:
    first = next(check_contract(add(GOOD, name)))
    assert (first.title, first.state) == ("has a usable name", FAILED)


def test_a_file_with_the_name_of_another_method_is_never_read(add: Add, tmp_path: Path) -> None:
    first = next(check_contract(add(GOOD, "zeroshot")))
    assert first.state == FAILED
    assert first.words.startswith(f"{tmp_path}/zeroshot.py is never read")


@pytest.mark.usefixtures("without_estimate")
def test_a_long_file_is_a_remark(add: Add) -> None:
    found = outcomes(add(GOOD + "\n" * 120))
    assert titles(found, REMARK) == ["is short"]
    assert titles(found, FAILED) == []


@pytest.mark.usefixtures("without_estimate")
def test_helpers_and_the_standard_library_may_be_imported(add: Add, tmp_path: Path) -> None:
    (tmp_path / "_helper.py").write_text("VALUE = 1.0\n")
    code = GOOD.replace("from methods.base", "import math\nfrom methods._helper import VALUE\nfrom methods.base")
    found = outcomes(add(code))
    assert titles(found, FAILED) == []


# tests/harness/estimate compares the estimate of every shipped method with a run of the command, in two precisions.
@pytest.mark.usefixtures("without_estimate")
@pytest.mark.parametrize("name", method_names())
def test_shipped_methods_keep_the_contract_on_a_tiny_backbone(name: str, tiny: Path) -> None:
    cls = method_class(name)
    options = cls.Config.model_fields.keys() & {"depth", "depth_text", "depth_image", "layer", "start"}
    words = [f"{name}.{key}=1" for key in sorted(options)]
    # Most prompts of an ensemble are longer than the context of a tiny text tower.
    # Penalties to try: each is a training of its own.
    words += ["linear_probe.num_step=2"] if name == "linear_probe" else []
    words += ["data.teacher_templates=zeroshot"] if cls.teacher not in (None, *OF_DATA_SETS) else []
    found = outcomes(Candidate(name, str(tiny), words))
    assert titles(found, FAILED) == titles(found, REMARK) == []
    # Nothing but vectors, of which none are given, and what the method does not do.
    expected = {"equals the official code"}
    expected |= set() if cls.is_fitted() else {"is fitted to the shots"}
    expected |= set() if cls.teacher or cls.frozen_view else set(UNTAUGHT)
    expected |= set() if cls.selects() else {"chooses on validation images"}
    assert cls.trains == (set(titles(found, SKIPPED)) == expected)


def test_vectors_of_the_official_code_are_replayed(golden: Path) -> None:
    state, words = find_out(equals_the_official_implementation, Candidate("clip_adapter", vectors=golden))
    assert state == OK
    assert words.endswith("comparisons, clip_adapter, clip_adapter_origin")


def test_a_method_that_differs_from_the_official_code_fails(add: Add, golden: Path) -> None:
    candidate = add(
        "from methods.base import Method, Official\n\nclass Hot(Method):"
        + body("""
            trains = False
            official = Official(trainers=("ZeroShotCLIP",))

            def logits(self, x, text):
                return 1.01 * super().logits(x, text)
        """)
    )
    candidate.vectors = golden
    state, words = find_out(equals_the_official_implementation, candidate)
    assert state == FAILED
    assert words.startswith("eval_logits")
    assert " of zeroshot is off by " in words


@pytest.mark.long
@pytest.mark.parametrize("name", method_names())
def test_shipped_methods_keep_the_contract(name: str, golden: Path) -> None:
    found = outcomes(Candidate(name, vectors=golden))
    assert titles(found, FAILED) == titles(found, REMARK) == []


@pytest.mark.usefixtures("without_estimate")
def test_a_class_specific_context_refuses_other_classes_before_training(tiny: Path) -> None:
    candidate = Candidate("coop", str(tiny), ["coop.class_specific=true", "coop.n_ctx=4"])
    found = outcomes(candidate)
    assert titles(found, FAILED) == []
    assert found["takes other classes"][1].startswith("refuses before training: class_specific=true learns")


def test_the_documentation_lists_the_properties() -> None:
    documentation = (ROOT / "docs" / "methods.md").read_text()
    table = documentation.partition("| property | holds if |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert rows == [item.title for item in PROPERTIES]

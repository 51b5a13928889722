"""Files of published numbers: what is refused, in one line that names the place."""

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.report.published import read_published
from harness.report.published_costs import read_costs
from harness.report.published_rows import PublishedAccuracy, PublishedCost, is_backbone, read_rows

HEADER = "protocol,backbone,shots,dataset,method,variant,metric,value,error,kind,doubt,source,note"
GOOD = "few_shot,ViT-B/16,4,dtd,gda,,accuracy,50.5,,printed,,a paper,"


def write(folder: Path, *lines: str, name: str = "few_shot") -> Path:
    file = folder / f"{name}.csv"
    file.write_text("\n".join((HEADER, *lines)) + "\n")
    return file


def test_a_row_is_read_with_its_types(tmp_path: Path) -> None:
    write(tmp_path, GOOD, GOOD.replace("printed", "digitised").replace("50.5,", "51,0.2").replace(",4,", ",8,"))
    rows = read_published("few_shot", tmp_path)
    assert rows["shots"].tolist() == [4, 8]
    assert rows["value"].tolist() == [50.5, 51.0]
    assert rows["error"].isna().tolist() == [True, False]
    assert rows["variant"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (",4,", ",four,", "line 2: shots 'four': input should be a valid integer"),
        (",4,", ",,", "line 2: shots: field required"),
        ("50.5", "150.5", "line 2: value '150.5': input should be less than or equal to 100"),
        ("50.5", "nan", "line 2: value 'nan': input should be a finite number"),
        ("printed", "guessed", "line 2: kind 'guessed': input should be 'printed', 'computed', 'digitised'"),
        ("a paper", "", "line 2: source: field required"),
        ("few_shot,", "few_shots,", "line 2: unknown protocol 'few_shots'. Did you mean 'few_shot'?"),
        ("few_shot,", "base_to_new,", "has rows of protocol 'base_to_new': it is the file of 'few_shot'"),
        (",accuracy,", ",top5,", "has the metric 'top5': use accuracy"),
        ("a paper,", "a paper", "line 2 has 12 cells instead of 13"),
    ],
)
def test_a_row_that_cannot_be_right_is_told_in_one_line(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in GOOD
    file = write(tmp_path, GOOD.replace(right, wrong, 1))
    with pytest.raises(UserError) as caught:
        read_published("few_shot", tmp_path)
    line = str(caught.value)
    assert line.startswith(f"'{file}'")
    assert message in line
    assert "\n" not in line


def test_a_number_stands_there_once(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD, GOOD.replace("50.5", "51"))
    with pytest.raises(UserError, match="line 3 is the same number as line 2: remove one, or give it a variant"):
        read_rows(file, PublishedAccuracy)
    write(tmp_path, GOOD, GOOD.replace("a paper", "another"), GOOD.replace("gda,,", "gda,re-run,"))
    assert len(read_rows(file, PublishedAccuracy)) == 3


def test_a_file_without_its_columns_is_told(tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    for text in ("", "a,b\n1,2\n", HEADER):
        file.write_text(text)
        with pytest.raises(UserError, match="line 1: the columns must be protocol, backbone, shots, "):
            read_rows(file, PublishedCost)
    with pytest.raises(UserError, match=r"cannot read published numbers '.*few_shot\.csv'"):
        read_published("few_shot", tmp_path / "nowhere")


def test_costs_keep_what_the_source_does_not_state_empty() -> None:
    costs = read_costs()
    assert costs["shots"].isna().any()
    assert costs["classes"].isna().any()
    assert (costs["hardware"] == "").any()
    assert (costs["unit"] != "").all()
    assert not costs[["hardware", "precision", "batch"]].isin(["not printed", "not read"]).any(axis=None)


@pytest.mark.parametrize(
    ("ours", "published", "same"),
    [
        ("ViT-B-16-quickgelu", "ViT-B/16", True),
        ("ViT-B-16-quickgelu:openai", "ViT-B/16", True),
        ("ViT-B-16-quickgelu:/weights/x.pt", "ViT-B/16", True),
        ("RN50-quickgelu", "RN50", True),
        ("ViT-B-16", "ViT-B/16", False),
        ("ViT-B-16-quickgelu:metaclip_400m", "ViT-B/16", False),
        ("ViT-B-32-quickgelu", "ViT-B/16", False),
        ("clip-emoji", "ViT-B/16", False),
    ],
)
def test_which_backbone_a_paper_means(ours: str, published: str, same: bool) -> None:
    assert is_backbone(ours, published) is same

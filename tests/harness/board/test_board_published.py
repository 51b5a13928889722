"""Published tables through the tests of a board, by the command line."""

from pathlib import Path

from tests.commands import error_line, skipbench


def test_the_table_of_a_paper_is_tested(tmp_path: Path) -> None:
    done = skipbench("board", "--published", "--source", "Skip Tuning", "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    words = (tmp_path / "board.md").read_text()
    assert "11 methods on 11 data sets" in words
    assert "critical difference is 4.55 ranks" in words
    assert "better than PromptSRC on 9 of 11 data sets" in words
    assert 'alt="Mean ranks.' in (tmp_path / "index.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["board.md", "index.html", "tables.csv", "tables.tex"]


def test_mistakes_are_told_in_one_line() -> None:
    assert "no published number is of a source 'Skip Tunning'" in error_line(
        "board", "--published", "--source", "Skip Tunning"
    )
    assert "--no-run does nothing with --published" in error_line("board", "--published", "--no-run")
    assert "--source does nothing with a suite" in error_line("board", "--source", "x")

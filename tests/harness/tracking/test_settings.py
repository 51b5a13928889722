"""What W&B is asked for: settings win over the environment, and what W&B would refuse is told before a run starts."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from wandb.errors import AuthenticationError, CommError

from harness.cli.run import print_places
from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.tracking.settings import check_tracking, tracking_mode, tracking_of
from harness.tracking.wandb_run import upload_command, why_offline
from tests.commands import error_line, skipbench
from tests.made_up_results import result_json, write_result

Make = Callable[..., RunSpec]


def test_settings_win_over_the_environment_and_no_id_changes(make_spec: Make) -> None:
    environment = {
        "WANDB_MODE": "online",
        "WANDB_PROJECT": "theirs",
        "WANDB_ENTITY": "team",
        "WANDB_TAGS": "one, two,",
        "WANDB_BASE_URL": "http://wandb.lab",
    }
    plain = make_spec("skip")
    assert tracking_of(plain, {}).project == "skipbench"
    assert tracking_of(plain, {}).entity is None
    asked = tracking_of(plain, environment)
    assert (asked.mode, asked.project, asked.entity) == ("online", "theirs", "team")
    assert asked.tags == ("skip", "emoji", "base_to_new", "clip-emoji", "one", "two")
    own = make_spec("skip", "wandb.mode=offline", "wandb.project=mine", "wandb.entity=me", "wandb.tags=[a]")
    asked = tracking_of(own, environment)
    assert (asked.mode, asked.project, asked.entity, asked.tags[4:]) == ("offline", "mine", "me", ("a",))
    assert own.id == plain.id


def test_the_group_of_the_environment_stands_before_the_experiments_name(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_spec("skip")
    monkeypatch.setenv("WANDB_RUN_GROUP", "night")
    assert make_spec("skip").wandb.group == "night"
    assert make_spec("skip", "wandb.group=mine").wandb.group == "mine"
    assert make_spec("skip").id == before.id


@pytest.mark.parametrize(
    ("settings", "environment", "mode"),
    [
        ([], {"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, "disabled"),
        ([], {"WANDB_DISABLED": "false", "WANDB_MODE": "online"}, "online"),
        (["wandb.mode=online"], {"WANDB_DISABLED": "true", "WANDB_MODE": "disable"}, "online"),
        ([], {"WANDB_MODE": ""}, "offline"),
        ([], {"WANDB_MODE": "dryrun"}, "offline"),
    ],
)
def test_modes(settings: list[str], environment: dict[str, str], mode: str, make_spec: Make) -> None:
    assert tracking_mode(make_spec("zeroshot", *settings), environment) == mode


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        ([], {"WANDB_MODE": "disable"}, "WANDB_MODE=disable is no mode of W&B. Did you mean 'disabled'?"),
        (["wandb.project=a/b"], {}, "wandb.project=a/b: W&B takes no '/' in it"),
        ([], {"WANDB_PROJECT": "50%"}, "WANDB_PROJECT=50%: W&B takes no '%' in it"),
        (["wandb.project=" + "x" * 129], {}, "it has 129 characters, W&B takes 1 to 128"),
        (["wandb.project=''"], {}, "wandb.project=: it has 0 characters"),
        (["wandb.entity=a:b"], {}, "wandb.entity=a:b: W&B takes no ':' in it"),
        ([], {"WANDB_ENTITY": "a#b"}, "WANDB_ENTITY=a#b: W&B takes no '#' in it"),
        ([f"wandb.tags=[{'t' * 65}]"], {}, f"wandb.tags: tag '{'t' * 65}' has 65 characters, W&B takes 1 to 64"),
        (["wandb.tags=['']"], {}, "wandb.tags: tag '' has 0 characters"),
        ([], {"WANDB_TAGS": "t" * 65}, "WANDB_TAGS: tag 'ttt"),
    ],
)
def test_what_wandb_would_refuse_is_told_with_key_and_value(
    settings: list[str], environment: dict[str, str], message: str, make_spec: Make
) -> None:
    spec = make_spec("zeroshot", *settings)
    with pytest.raises(UserError, match=re.escape(message)):
        check_tracking([spec], {"WANDB_MODE": "offline", **environment})
    if "WANDB_MODE" not in environment:
        assert check_tracking([spec], {**environment, "WANDB_MODE": "disabled"}) == []


def test_limits_are_told_by_the_command_before_anything_is_computed(tmp_path: Path) -> None:
    words = ("bench", "zeroshot", "wandb.project=a/b", "--results", str(tmp_path))
    assert error_line(*words, WANDB_MODE="offline").startswith("error: wandb.project=a/b: W&B takes no '/'")
    assert error_line("bench", "zeroshot", "--results", str(tmp_path), WANDB_MODE="disable").startswith(
        "error: WANDB_MODE=disable is no mode of W&B."
    )
    assert not list(tmp_path.rglob("spec.yaml"))
    sweep = error_line("sweep", "skip", "wandb.tags=['']", "--results", str(tmp_path), WANDB_MODE="offline")
    assert "wandb.tags: tag '' has 0 characters" in sweep


def test_names_of_runs_and_groups_are_made_to_fit(make_spec: Make) -> None:
    spec = make_spec("zeroshot", "wandb.group='a/b: c'")
    data = spec.data.model_copy(update={"dataset": "folder:/" + "long/" * 40})
    asked = tracking_of(spec.model_copy(update={"data": data}), {})
    assert asked.group == "a-b- c"
    assert len(asked.name) == 128
    assert asked.name.startswith("zeroshot-folder--long-long")
    assert all(len(tag) <= 64 for tag in asked.tags)


def test_variables_that_are_ignored_are_told(make_spec: Make) -> None:
    environment = {"WANDB_DIR": "/elsewhere", "WANDB_NAME": "mine", "WANDB_MODE": "offline"}
    told = check_tracking([make_spec("zeroshot")], environment)
    assert told == [
        "WANDB_DIR is ignored: W&B's files are kept in the folder of each run",
        "WANDB_NAME is ignored: a run is named after its settings",
    ]
    assert check_tracking([make_spec("zeroshot")], {**environment, "WANDB_MODE": "disabled"}) == []


@pytest.mark.parametrize(
    ("error", "begin"),
    [
        (CommError("No API key configured. Use `wandb login` to log in."), "no W&B key: run `wandb login` or set "),
        (AuthenticationError("API key must be 40 characters"), "W&B refuses the key (API key must be 40 characters)"),
        (CommError("Run initialization has timed out"), "W&B is not reachable (Run initialization has timed out)"),
    ],
)
def test_why_a_run_is_offline(error: CommError, begin: str) -> None:
    told = why_offline(error, Path("/my results/runs/abc"))
    assert told.startswith(begin)
    assert told.endswith("upload it later with `skipbench wandb-sync --results '/my results' abc`")


def test_the_command_that_uploads_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upload_command(Path("r/runs/abc")) == "skipbench wandb-sync --results r abc"
    results = tmp_path / "my results; rm -rf ~"
    for run_id, count in (("a", 1), ("b", 2)):
        (results / "runs" / run_id / "wandb" / "offline-run-1-a").mkdir(parents=True)
        print_places(["a", "b"], results)
        told = f"W&B: {count} offline run{'s' * (count > 1)}, upload with `skipbench wandb-sync --results '{results}'`"
        assert told in capsys.readouterr().out


def test_a_line_break_in_the_path_of_the_results_breaks_no_line(make_spec: Make, tmp_path: Path) -> None:
    results = tmp_path / "two\nlines"
    spec = make_spec("zeroshot", shots=1)
    write_result(results, result_json(spec, {item.name: 50.0 for item in spec.evaluate}, {}))
    done = skipbench("bench", "zeroshot", "--shots", "1", "--seeds", "1", "--results", str(results))
    assert done.returncode == 0, done.stderr
    assert "1 of 1 run is complete already." in done.stdout
    assert f"Results: {tmp_path}/two\\nlines/runs/<id>/result.json" in done.stdout.splitlines()

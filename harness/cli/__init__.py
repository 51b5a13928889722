"""The `skipbench` command. Thin: every command reads its words, calls one module and prints.

Modules that need torch are imported inside the commands, so that help and mistyped names answer at once.
"""

import os
import signal
import sys
import traceback
from typing import Any

import click

import harness
from harness.cli.check import check
from harness.cli.compare import compare
from harness.cli.console import errors
from harness.cli.data import data
from harness.cli.estimate import estimate
from harness.cli.figures import figures
from harness.cli.names import keys, list_names
from harness.cli.parity import parity
from harness.cli.report import report
from harness.cli.run import bench, plan, run
from harness.cli.runs import export, rerun, runs, show
from harness.cli.speed import speed
from harness.cli.sweep import sweep
from harness.cli.table import table
from harness.cli.wandb_sync import wandb_sync
from harness.errors import UserError

MISTAKE, INTERRUPTED = 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(harness.__version__, prog_name="skipbench")
@click.option("--debug", is_flag=True, envvar="SKIPBENCH_DEBUG", help="Show tracebacks of errors.")
def cli(debug: bool) -> None:
    """Few-shot adaptation of CLIP, measured: Skip Tuning beside its baselines.

    \b
    First steps (no GPU, account or download needed):
      skipbench list                        methods, data sets, backbones, recipes
      skipbench bench skip                  Skip Tuning on the embedded benchmark, three seeds
      skipbench bench zeroshot,finetune,skip --seeds 1
      skipbench bench skip skip.depth=4 train.epochs=10

    \b
    On real data (CoOp layout under $DATA) and one GPU:
      DATA=/data skipbench bench skip --dataset dtd --backbone ViT-B-16-quickgelu

    \b
    Many runs, on whatever machine there is:
      skipbench run experiments/paper/base_to_new.yaml --devices 0,1,2,3
      skipbench run experiments/paper/base_to_new.yaml --executor slurm schedule.slurm.partition=gpu
      skipbench runs --failed; skipbench show ID; skipbench rerun ID; skipbench export --out all.csv

    Every run lies in results/runs/<id>/: spec.yaml, metrics.jsonl, checkpoint.safetensors, sample.json, log.txt and,
    when it is complete, result.json; failure.json says why one failed. A run that is complete is never computed again;
    an interrupted one goes on from its last finished epoch; several processes and machines may share a results folder.
    Settings are KEY=VALUE; `skipbench keys [METHOD]` lists them.
    """
    os.environ["SKIPBENCH_DEBUG"] = "1" if debug else ""


for command in (
    bench,
    run,
    sweep,
    estimate,
    plan,
    runs,
    show,
    rerun,
    export,
    wandb_sync,
    table,
    figures,
    report,
    compare,
    speed,
    data,
    list_names,
    keys,
    check,
    parity,
):
    cli.add_command(command)


ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def stop(*_: Any) -> None:
    """End as Ctrl-C does: runs are told to stop, and let go of what they hold. Who asks twice does not hurry it."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: run the command line, and turn errors into one line and an exit code."""
    for ending in ENDINGS:
        # nohup has the second one ignored.
        if signal.getsignal(ending) is signal.SIG_DFL:
            signal.signal(ending, stop)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(MISTAKE)
    except UserError as error:
        fail(str(error), error, MISTAKE)
    except (KeyboardInterrupt, click.Abort) as error:
        fail("stopped; the same command goes on from the last finished epoch", error, INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or ''}", error, 1)


def fail(message: str, error: BaseException, code: int) -> None:
    """Print one line, the traceback only if it was asked for, and leave."""
    if os.environ.get("SKIPBENCH_DEBUG"):
        traceback.print_exception(error)
    errors.print(f"error: {message}", markup=False)
    sys.exit(code)

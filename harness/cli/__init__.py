"""The `skipbench` command. Thin: every command reads its words, calls one module and prints.

A command's module is imported when the command is used. What takes long to import, such as torch, pandas and Optuna, is
imported inside the commands, so that their help and mistyped names are answered at once.
"""

import codecs
import io
import os
import signal
import sys
import traceback
from types import TracebackType

import click

import harness
import harness.text
from harness.cli.completion import VARIABLE
from harness.cli.console import errors
from harness.cli.lazy import LazyGroup
from harness.cli.signals import stop
from harness.errors import UserError
from harness.machine.masking import masked
from harness.text import plain

MISTAKE, INTERRUPTED = 2, 130
IN_ASCII = {"±": "+/-", "\N{EN DASH}": "-", "…": "...", "‖": "||", "≈": "~"}
"""How marks of tables are written where the encoding of a terminal or pipe lacks them."""


COMMANDS = {
    "bench": ("harness.cli.run:bench", "Train and evaluate methods and print their table."),
    "run": ("harness.cli.run:run", "Execute an experiment file, or one run."),
    "sweep": ("harness.cli.sweep:sweep", "Search for settings with Optuna."),
    "transfer": ("harness.cli.transfer:transfer", "Choose settings in several places, test them in all."),
    "equal-budget": ("harness.cli.equal_budget:equal_budget", "Tune methods with the same budget, then test them."),
    "estimate": ("harness.cli.estimate:estimate", "Estimate memory, operations and bytes of runs without a GPU."),
    "plan": ("harness.cli.run:plan", "List the runs of an experiment and their states."),
    "runs": ("harness.cli.runs:runs", "List the runs of the results folder."),
    "show": ("harness.cli.runs:show", "Explain one run."),
    "predict": ("harness.cli.predict:predict", "Classify pictures of your own with a finished run."),
    "rerun": ("harness.cli.runs:rerun", "Compute runs again."),
    "export": ("harness.cli.runs:export", "Write all finished runs as one table."),
    "wandb-sync": ("harness.cli.wandb_sync:wandb_sync", "Upload finished runs to W&B and show which are uploaded."),
    "table": ("harness.cli.table:table", "Tables of an experiment."),
    "rescore": ("harness.cli.rescore:rescore", "Score finished runs anew from the logits that they kept."),
    "figures": ("harness.cli.figures:figures", "Figures of an experiment."),
    "report": ("harness.cli.report:report", "One HTML page about an experiment."),
    "board": ("harness.cli.board:board", "Run a suite and write its board: tables and tests by track."),
    "compare": ("harness.cli.compare:compare", "Show what differs between two runs or experiments."),
    "speed": ("harness.cli.speed:speed", "Measure methods with the speed-ups and without."),
    "stability": ("harness.cli.stability:stability", "Measure how far rounding moves the results of methods."),
    "data": ("harness.cli.data:data", "Show which data sets are there, complete or not."),
    "stores": ("harness.cli.stores:stores", "Show or clear what is kept outside of results."),
    "list": ("harness.cli.names:list_names", "List methods, data sets, backbones, protocols and recipes."),
    "keys": ("harness.cli.names:keys", "List the settings that KEY=VALUE can change."),
    "check": ("harness.cli.check:check", "Check the contract of a method, one line per property."),
    "parity": ("harness.cli.parity:parity", "Compare the methods with the official implementations."),
    "selfcheck": ("harness.cli.selfcheck:selfcheck", "Check this machine: right numbers, and how fast."),
}


@click.group(
    cls=LazyGroup,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
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
      skipbench bench skip skip.depth=2,4,6 train.precision=fp32,bf16

    \b
    On real data (CoOp layout under $DATA) and one GPU:
      DATA=/data skipbench bench skip --dataset dtd --backbone ViT-B-16-quickgelu

    \b
    Many runs, on whatever machine there is:
      skipbench run experiments/paper/base_to_new.yaml --devices 0,1,2,3
      skipbench run experiments/paper/base_to_new.yaml --executor slurm schedule.slurm.partition=gpu
      skipbench runs --failed; skipbench show ID; skipbench rerun ID; skipbench export --out all.csv

    Every run has a folder results/runs/<id>/ with spec.yaml, metrics.jsonl, checkpoint.safetensors, sample.json,
    log.txt, logits of its evaluations and, when it is complete, result.json; failure.json says why a run failed. A
    complete run is never computed again; an interrupted one continues from its last finished epoch; several processes
    and machines may share a results folder.
    Settings are KEY=VALUE; `skipbench keys [METHOD]` lists them. A setting with several values is an axis, and all
    combinations of axes are run: 0..12 or 0..12..2 (both ends included), 2,4,6, fp32,bf16 or a YAML list such as
    [0.1, 0.2]. The same holds in experiment files, sweeps, and the options for data sets, backbones, shots, seeds and
    recipes.
    """
    os.environ["SKIPBENCH_DEBUG"] = "1" if debug else ""


STOPPED = "stopped; the same command goes on from the last finished epoch"


def main() -> None:
    """Entry point: run the command line, and turn errors into one line and an exit code."""
    stop.listen()
    sys.excepthook = print_traceback
    write_all_characters()
    try:
        cli.main(prog_name=harness.text.program(), complete_var=VARIABLE, standalone_mode=False)
    except BaseException as error:
        # What a library makes of Ctrl-C while it is imported may be any error.
        if stop.is_asked and not isinstance(error, SystemExit):
            fail(STOPPED, error, INTERRUPTED)
        end(error)


def write_all_characters() -> None:
    """Have what the encoding of the terminal or pipe lacks written in other characters, instead of an error."""
    codecs.register_error("skipbench", spelled_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="skipbench")


def spelled_out(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that an encoding lacks: marks of tables in ASCII, escapes of all others."""
    if isinstance(error, UnicodeEncodeError):
        return IN_ASCII.get(error.object[error.start]) or rf"\u{ord(error.object[error.start]):04x}", error.start + 1
    return codecs.backslashreplace_errors(error)


def end(error: BaseException) -> None:
    """Turn an exception into one line and an exit code; one that nobody expected is raised again."""
    if isinstance(error, click.ClickException):
        shown = io.StringIO()
        error.show(file=shown)
        for line in shown.getvalue().splitlines():
            errors.print(line)
        sys.exit(MISTAKE)
    if isinstance(error, UserError):
        fail(str(error), error, MISTAKE)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        fail(STOPPED, error, INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if isinstance(error, OSError):
        fail(plain(f"{error.strerror or error}: {error.filename or ''}"), error, 1)
    raise error


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without the secrets in it."""
    sys.stderr.write(masked("".join(traceback.format_exception(kind, error, trace))))


def fail(message: str, error: BaseException, code: int) -> None:
    """Print one line, the traceback only if it was asked for, and leave."""
    if os.environ.get("SKIPBENCH_DEBUG"):
        print_traceback(type(error), error, error.__traceback__)
    if code == INTERRUPTED and signal.getsignal(signal.SIGINT) is stop:
        # Nothing is left to stop, and the interpreter would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code == INTERRUPTED and "multiprocessing" in sys.modules:
        # The interpreter would wait for a process that was being started just then.
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
    if code == INTERRUPTED:
        # Python ends by the signal, whatever the exit code, if Ctrl-C came while a string was executed, as some imports
        # do; the next string forgets that.
        exec("pass")
    errors.print(f"error: {message}", markup=False)
    sys.exit(code)

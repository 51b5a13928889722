"""What the processes of runs find imported."""

from harness.schedule.worker import process_context


def imported(sender: object) -> None:
    """Send which modules a new process has."""
    import sys

    sender.send(sorted(sys.modules))  # type: ignore[attr-defined]


def test_a_process_of_a_run_does_not_import_again_what_every_run_needs() -> None:
    receiver, sender = process_context().Pipe(duplex=False)
    process = process_context().Process(target=imported, args=(sender,))
    process.start()
    found = receiver.recv()
    process.join()
    wanted = {"harness.training.run", "wandb.sdk.launch", "pandas", "PIL.JpegImagePlugin", "PIL.WebPImagePlugin"}
    assert wanted | {"ftfy"} <= set(found)
    assert not {"open_clip", "torchvision", "timm", "torch._dynamo"} & set(found)

"""One run from start to finish: spec -> results/runs/<id>/."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from harness import environment
from harness.cache import TrainingImages
from harness.clip.backbones import parse_backbone
from harness.clip.load import load_backbone, sha256_of
from harness.clip.prompts import fill_template
from harness.clip.towers import CLIP
from harness.data.datasets import find_dataset, read_dataset
from harness.data.fewshot import class_subset, few_shot_sample, keep_classes, sample_hash
from harness.data.index import VALIDATION_SHOTS, Sample, read_index, sample_index
from harness.data.loader import PictureSet
from harness.data.pictures import Broken, check_pictures, missing_pictures
from harness.data.readers import Splits
from harness.data.transforms import TestTransform, TrainTransform, transform_hash
from harness.errors import UserError
from harness.evaluate import evaluate
from harness.features import Place
from harness.measure import Meter
from harness.precision import autocast, store_clip, store_method
from harness.registry import method_class
from harness.spec import EvalSpec, RunSpec
from harness.store import RunFolder
from harness.track import Tracker
from harness.train import EpochRecord, Trainer, trained_parameters, trained_state
from methods.base import Method, OtherClassesError

log = logging.getLogger("skipbench")

Report = Callable[[dict[str, Any]], None]
"""Takes news of the run for whoever watches it: {"phase": ...}, {"epoch": ..., "epochs": ...}, {"notice": ...}."""


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU if there is one.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device '{name}': use auto, cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device '{name}' is not supported: use auto, cpu, cuda or cuda:0")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{name}' is not there: this machine shows {torch.cuda.device_count()} GPUs to torch")
    return device


def choose_workers(spec: RunSpec, device: torch.device) -> int:
    """Processes that decode pictures: as asked, else none beside a CPU that computes, else one a core up to 8."""
    if spec.runtime.workers is not None:
        return spec.runtime.workers
    return min(8, os.cpu_count() or 1) if device.type == "cuda" else 0


def make_repeatable(seed: int) -> None:
    """Seed torch and ask for the same result every time, bit for bit, on the same machine."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(seed)


@dataclass(frozen=True)
class FewShotData:
    """What a run may look at while it trains.

    Attributes:
        splits: of the data set.
        sample: k training and min(k, 4) validation pictures a class, without broken ones.
        broken: pictures of the sample that cannot be read and were left out.
    """

    splits: Splits
    sample: Sample
    broken: tuple[Broken, ...] = ()


class Run:
    """One run.

    Args:
        spec: what to do.
        results: the results folder.
        report: takes news for whoever watches.
    """

    def __init__(self, spec: RunSpec, results: Path, report: Report = lambda news: None) -> None:
        self.spec = spec
        self.folder = RunFolder(results, spec.id)
        self.report = report
        self.data_root = spec.runtime.find_data_root()
        self.device = choose_device(spec.runtime.device)
        self.workers = choose_workers(spec, self.device)

    def execute(self) -> None:
        """Compute the run, or what is left of it, unless it is complete.

        Raises:
            UserError: anything that the user can put right.
        """
        self.folder.create()
        with self.folder.locked():
            if not self.folder.is_complete:
                with logging_to(self.folder.log_file):
                    self.folder.prepare(self.spec)
                    try:
                        self._execute()
                    except OtherClassesError as error:
                        raise UserError(f"{self.spec.method}: {error}") from None

    def _execute(self) -> None:
        spec = self.spec
        if spec.runtime.threads:
            torch.set_num_threads(spec.runtime.threads)
        make_repeatable(spec.seed)
        tensors, progress = self._load_progress()
        meter = Meter(self.device, progress["phases"])
        self.report({"phase": "setup"})
        with meter.phase("setup"):
            clip, data, method = self._set_up()

        def set_classes() -> None:
            with autocast(spec.train.precision, self.device):
                method.set_classes(method.prompts)

        meter.probe("setup", set_classes, [*method.parameters(), *method.buffers()])
        self._write_sample(data)
        machine = environment.describe(self.device)
        tracker = Tracker(spec, self.folder.path, machine, lambda line: self.report({"notice": line}))
        if tracker.fell_back:
            self.report({"phase": "setup", "tracking": "offline"})
        if trained_parameters(method):
            self._train(self._make_trainer(clip, data, method, meter), tensors, progress, tracker)
        evaluations = [self._evaluate(method, item, meter) for item in spec.evaluate]
        # Beside the result, which stays small: tables read it for thousands of runs.
        self.folder.write_json("predictions.json", {item["name"]: item.pop("examples") for item in evaluations})
        costs = self._costs(method, meter, progress)
        result = {
            "id": spec.id,
            "name": spec.name,
            "spec": spec.settings(),
            "evaluations": evaluations,
            "costs": costs,
            "method_facts": method.facts(),
            "sample": {
                "hash": sample_hash(data.sample.train),
                "train_images": len(data.sample.train),
                "val_images": len(data.sample.val),
                "broken_images": [broken.path for broken in data.broken],
            },
            "layout": list(data.splits.layout),
            "transform_hash": transform_hash(list(self._transforms(clip)), clip.mean, clip.std),
            "weights_sha256": self._weights_hash(),
            "interruptions": progress["starts"] - 1,
            "environment": machine,
        }
        tracker.finish(result)
        self.folder.finish(result)
        log.info("complete: %s", {item["name"]: round(item["accuracy"], 2) for item in evaluations})

    def _load_progress(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and facts of an interrupted run, or those of a new one."""
        tensors, progress = self.folder.load_progress() or ({}, {"epoch": 0, "phases": {}, "flops": {}, "starts": 0})
        # This start sets up anew; what the earlier one spent on it belongs to no result.
        progress["phases"].pop("setup", None)
        progress["starts"] += 1
        return tensors, progress

    def _costs(self, method: Method, meter: Meter, progress: dict[str, Any]) -> dict[str, Any]:
        """Costs of the whole run; saves the checkpoint to know its size."""
        flops = progress["flops"]
        return {
            "phases": meter.as_dict(),
            "trainable_parameters": sum(p.numel() for p in trained_parameters(method).values()),
            "total_parameters": sum(p.numel() for p in method.parameters()),
            "train_flops_per_image": flops.get("train"),
            "cache_flops_per_image": flops.get("cache"),
            **progress.get("cache", {"cache_location": None, "cache_bytes": 0}),
            "checkpoint_bytes": self._save_checkpoint(method),
        }

    def _set_up(self) -> tuple[CLIP, FewShotData, Method]:
        """Load the backbone, draw the sample, build the method for the training classes."""
        spec = self.spec
        precision = spec.train.precision
        clip = store_clip(load_backbone(spec.backbone), precision).to(self.device)
        data = self._checked_data()
        cls = method_class(spec.method)
        config = cls.Config(**spec.options)
        try:
            cls.check(config, clip.num_blocks)
        except ValueError as error:
            raise UserError(f"{spec.method}.{error} (backbone {spec.backbone})") from None
        prompts = clip.tokenize(self._texts(spec.data.dataset, spec.data.classes))
        # Every source of chance has its own seed: what the method draws does not depend on how the backbone was made.
        torch.manual_seed(spec.seed)
        with autocast(precision, self.device):
            method = cls(clip, config, prompts, cache_text=spec.train.cache != "none")
        for item in spec.evaluate:
            method.check_classes(tuple(self._texts(item.dataset, item.classes)))
        return clip, data, store_method(method, precision).to(self.device)

    def _few_shot_sample(self, dataset: str, splits: Splits) -> Sample:
        data = self.spec.data
        if data.index and dataset == data.dataset:
            return read_index(Path(data.index), splits, data.shots, dataset)
        train = few_shot_sample(splits.train, data.shots, self.spec.seed)
        val = few_shot_sample(splits.val, min(data.shots, VALIDATION_SHOTS), self.spec.seed)
        return Sample(train, val)

    def _checked_data(self) -> FewShotData:
        """The training data set and its sample, all of whose pictures can be read.

        Raises:
            UserError: there is nothing to train on, or a picture is broken or missing.
        """
        spec = self.spec
        splits = read_dataset(spec.data.dataset, self.data_root)
        if not splits.train and spec.train.epochs:
            layout = f" ({'; '.join(splits.layout)})" if splits.layout else ""
            raise UserError(f"data set '{spec.data.dataset}' has no training pictures{layout}: train on another")
        sample = self._few_shot_sample(spec.data.dataset, splits)
        checked = [check_pictures(splits.folder, pictures, spec.data.skip_broken) for pictures in sample]
        if not spec.data.skip_broken:
            self._refuse_missing_test_pictures()
        broken = tuple(broken for part in checked for broken in part.broken)
        return FewShotData(splits, Sample(*(part.usable for part in checked)), broken)

    def _refuse_missing_test_pictures(self) -> None:
        """Tell before training what evaluation would stumble over; folders are listed, no picture is opened."""
        for dataset in {item.dataset for item in self.spec.evaluate if "test" in item.splits}:
            splits = read_dataset(dataset, self.data_root)
            missing = missing_pictures(splits.folder, splits.test)
            if missing:
                raise UserError(
                    f"{len(missing)} test pictures of data set '{dataset}' are missing, the first is "
                    f"'{splits.folder / missing[0]}': restore them (see `skipbench data {dataset}`), "
                    "or leave out what is broken with data.skip_broken=true"
                )

    def _class_names(self, dataset: str, classes: str) -> list[str]:
        names = read_dataset(dataset, self.data_root).class_names
        return [names[label] for label in class_subset(len(names), classes)]

    def _texts(self, dataset: str, classes: str) -> list[str]:
        return [fill_template(self._template(dataset), name) for name in self._class_names(dataset, classes)]

    def _template(self, dataset: str) -> str:
        cls = method_class(self.spec.method)
        template = find_dataset(dataset).template_of(self.spec.data.templates)
        return cls.prompt_template(cls.Config(**self.spec.options), template)

    def _transforms(self, clip: CLIP) -> tuple[TrainTransform, TestTransform]:
        data = self.spec.data
        return TrainTransform(clip.image_size, data.crop_scale, data.flip), TestTransform(clip.image_size)

    def _write_sample(self, data: FewShotData) -> None:
        """Export the k-shot sample (before it is cut to the training classes), so that others can use the very same."""
        about = {"dataset": self.spec.data.dataset, "shots": self.spec.data.shots, "seed": self.spec.seed}
        self.folder.write_json("sample.json", sample_index(data.sample, data.splits.class_names, **about))

    def _make_trainer(self, clip: CLIP, data: FewShotData, method: Method, meter: Meter) -> Trainer:
        labels = class_subset(len(data.splits.class_names), self.spec.data.classes)
        pictures = PictureSet(data.splits.folder, keep_classes(data.sample.train, labels))
        transform, _ = self._transforms(clip)
        runtime = self.spec.runtime
        images = TrainingImages(
            clip,
            pictures,
            transform,
            method.image_start,
            self.spec.train,
            self.spec.seed,
            meter,
            self.workers,
            Place(self.device, runtime.cache_gpu_mib, runtime.cache_host_mib, self.folder.path),
        )
        return Trainer(method, images, self.spec, meter)

    def _train(
        self, trainer: Trainer, tensors: dict[str, torch.Tensor], progress: dict[str, Any], tracker: Tracker
    ) -> None:
        """Train from the last saved epoch on; record, save and track every epoch. Keeps `progress` up to date."""
        trainer.flops = progress["flops"]
        if tensors:
            trainer.load_state(tensors)
            log.info("going on from epoch %d", progress["epoch"])
        records = self.folder.read_metrics(epochs=progress["epoch"])
        tracker.log_epochs(records)

        def on_epoch(record: EpochRecord) -> None:
            line = asdict(record)
            self.folder.append_metrics(line)
            records.append(line)
            costs = {"phases": trainer.meter.as_dict(), "flops": trainer.flops, "cache": trainer.images.facts()}
            progress.update(epoch=record.epoch + 1, **costs)
            self.folder.save_progress(trainer.state(), progress)
            tracker.log_epochs(records)
            log.info("epoch %(epoch)d loss %(loss).4f lr %(lr).3g train %(train_seconds).2f s", line)
            speed = record.images / (record.train_seconds + record.cache_seconds)
            news = {"epoch": record.epoch + 1, "loss": record.loss, "images_per_second": speed}
            self.report({"phase": "train", "epochs": self.spec.train.epochs, **news})

        self.report({"phase": "train", "epoch": progress["epoch"], "epochs": self.spec.train.epochs})
        trainer.train(progress["epoch"], on_epoch)

    def _evaluate(self, method: Method, item: EvalSpec, meter: Meter) -> dict[str, Any]:
        self.report({"phase": "evaluate", "name": item.name})
        splits = read_dataset(item.dataset, self.data_root)
        # Of the splits that are not for testing, only the few-shot sample is there to be looked at.
        sample = self._few_shot_sample(item.dataset, splits)
        available = {"train": sample.train, "val": sample.val, "test": splits.test}
        labels = class_subset(len(splits.class_names), item.classes)
        chosen = keep_classes([picture for split in item.splits for picture in available[split]], labels)
        if not chosen:
            where = f"{'+'.join(item.splits)} pictures of classes '{item.classes}' of data set '{item.dataset}'"
            raise UserError(f"evaluation '{item.name}' has nothing to look at: there are no {where}")
        broken: list[Broken] = []
        if self.spec.data.skip_broken:
            chosen, broken = check_pictures(splits.folder, chosen, skip_broken=True)
        _, transform = self._transforms(method.clip)
        scores = evaluate(
            method,
            PictureSet(splits.folder, chosen),
            self._class_names(item.dataset, item.classes),
            self._texts(item.dataset, item.classes),
            transform,
            meter,
            self.spec.train.precision,
            self.spec.runtime.eval_batch_size,
            self.workers,
        )
        about = {"template": self._template(item.dataset), "layout": list(splits.layout), "broken_images": len(broken)}
        return {**item.model_dump(mode="json"), **about, **asdict(scores)}

    def _save_checkpoint(self, method: Method) -> int:
        if not trained_parameters(method):
            return 0
        return self.folder.save_checkpoint(trained_state(method), {"id": self.spec.id, "spec": self.spec.settings()})

    def _weights_hash(self) -> str | None:
        checkpoint = parse_backbone(self.spec.backbone).checkpoint
        return sha256_of(checkpoint) if checkpoint else None


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send the run's log to a file, behind what an earlier start wrote; an exception that passes is noted there."""
    logging.raiseExceptions = False  # a full disk must not bury the error that says so
    handler = logging.FileHandler(path)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    except UserError as error:
        log.error("%s", error)
        raise
    except BaseException:
        log.exception("failed")
        raise
    finally:
        log.removeHandler(handler)
        handler.close()

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

from harness.clip.backbones import parse_backbone
from harness.clip.load import sha256_of
from harness.clip.towers import CLIP
from harness.data.datasets import read_dataset
from harness.data.fewshot import class_subset, few_shot_sample, hold_out, keep_classes, sample_hash
from harness.data.loader import PictureSet
from harness.data.pictures import Broken, check_pictures, missing_pictures
from harness.data.readers import SPLITS, Picture, Splits
from harness.data.sample_file import VALIDATION_SHOTS, Sample, read_index, sample_index
from harness.data.transforms import TestTransform, TrainTransform, transform_hash
from harness.errors import UserError
from harness.experiment.spec import EvalSpec, RunSpec
from harness.machine import environment
from harness.machine.device import DeviceUse, choose_device, device_use
from harness.machine.meter import Meter
from harness.results.claim import Claim
from harness.results.folder import RunFolder
from harness.tracking.wandb_run import Tracker
from harness.training.build import build_clip, build_method, probe_setup, prompt_template, prompt_texts
from harness.training.evaluate import evaluate
from harness.training.feature_cache import TrainingImages
from harness.training.feature_storage import Place
from harness.training.precision import autocast
from harness.training.trainer import EpochRecord, Trainer, trained_parameters, trained_state
from methods.base import Method, OtherClassesError

log = logging.getLogger("skipbench")

Report = Callable[[dict[str, Any]], None]
"""Takes news of the run for whoever watches it: {"phase": ...}, {"epoch": ..., "epochs": ...}, {"notice": ...}."""


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
        held_out: pictures of the sample that are kept from training, for cross-validation.
        broken: pictures of the sample that cannot be read and were left out.
    """

    splits: Splits
    sample: Sample
    held_out: tuple[Picture, ...] = ()
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
        tests = any("test" in item.splits for item in spec.evaluate)
        self.splits = SPLITS if tests else tuple(split for split in SPLITS if split != "test")
        self.device = choose_device(spec.runtime.device)
        self.workers = choose_workers(spec, self.device)

    def execute(self) -> None:
        """Compute the run, or what is left of it, unless it is complete.

        Raises:
            UserError: anything that the user can put right.
        """
        self.folder.create()
        with self.folder.claimed() as claim:
            if not self.folder.is_complete:
                with logging_to(self.folder.log_file), device_use(self.device) as use:
                    self.folder.prepare(self.spec)
                    try:
                        self._execute(claim, use)
                    except OtherClassesError as error:
                        raise UserError(f"{self.spec.method}: {error}") from None
        self.folder.tidy()

    def _execute(self, claim: Claim, use: DeviceUse) -> None:
        spec = self.spec
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if spec.runtime.threads:
            torch.set_num_threads(spec.runtime.threads)
        make_repeatable(spec.seed)
        tensors, progress = self._load_progress()
        meter = Meter(self.device, progress["phases"])
        self.report({"phase": "setup"})
        with meter.phase("setup"):
            clip, data, method = self._set_up()
        probe_setup(method, spec.train.precision, meter)
        self._write_sample(data)
        machine = environment.describe(self.device)
        tracker = Tracker(spec, self.folder.path, machine, lambda line: self.report({"notice": line}))
        if tracker.fell_back:
            self.report({"phase": "setup", "tracking": "offline"})
        if trained_parameters(method):
            self._train(self._make_trainer(clip, data, method, meter), tensors, progress, tracker, claim, use)
        evaluations = [self._evaluate(method, item, meter) for item in spec.evaluate]
        use.check()
        progress["alone"] = progress["alone"] and use.alone and not spec.runtime.device_shared
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
        claim.check()
        self.folder.finish(result)
        log.info("complete: %s", {item["name"]: round(item["accuracy"], 2) for item in evaluations})
        # Last: a server may keep us waiting, and what it does not get now it gets later from the result.
        tracker.finish(result)

    def _load_progress(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and facts of an interrupted run, or those of a new one."""
        tensors, progress = self.folder.load_progress() or (
            {},
            {"epoch": 0, "phases": {}, "flops": {}, "starts": 0, "alone": True},
        )
        # This start sets up anew; what the earlier one spent on it belongs to no result.
        progress["phases"].pop("setup", None)
        progress["starts"] += 1
        return tensors, progress

    def _costs(self, method: Method, meter: Meter, progress: dict[str, Any]) -> dict[str, Any]:
        """Costs of the whole run; saves the checkpoint to know its size."""
        flops = progress["flops"]
        return {
            "phases": meter.as_dict(),
            "alone": progress["alone"],
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
        clip = build_clip(spec.backbone, precision, self.device)
        data = self._checked_data()
        texts = self._texts(spec.data.dataset, spec.data.classes)
        cached = spec.train.cache != "none"
        method = build_method(clip, spec.method, spec.options, texts, precision, spec.seed, cached)
        for item in spec.evaluate:
            method.check_classes(tuple(self._texts(item.dataset, item.classes)))
        return clip, data, method

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
        splits = self._read(spec.data.dataset)
        if not splits.train and spec.train.epochs:
            layout = f" ({'; '.join(splits.layout)})" if splits.layout else ""
            raise UserError(f"data set '{spec.data.dataset}' has no training pictures{layout}: train on another")
        sample = self._few_shot_sample(spec.data.dataset, splits)
        checked = [check_pictures(splits.folder, pictures, spec.data.skip_broken) for pictures in sample]
        if not spec.data.skip_broken:
            self._refuse_missing_test_pictures()
        broken = tuple(broken for part in checked for broken in part.broken)
        usable = Sample(*(part.usable for part in checked))
        kept, held = self._hold_out(usable)
        return FewShotData(splits, Sample(kept, usable.val), tuple(held), broken)

    def _hold_out(self, sample: Sample) -> tuple[list[Picture], list[Picture]]:
        """What of the sample is trained on, and what is held out."""
        if not self.spec.data.held_out:
            return sample.train, []
        part, _, parts = self.spec.data.held_out.partition("/")
        return hold_out(sample.train, int(part), int(parts))

    def _read(self, dataset: str) -> Splits:
        """A data set; without test pictures and their labels, if the run is not to be tested."""
        return read_dataset(dataset, self.data_root, self.splits)

    def _refuse_missing_test_pictures(self) -> None:
        """Tell before training what evaluation would stumble over; folders are listed, no picture is opened."""
        for dataset in {item.dataset for item in self.spec.evaluate if "test" in item.splits}:
            splits = self._read(dataset)
            missing = missing_pictures(splits.folder, splits.test)
            if missing:
                raise UserError(
                    f"{len(missing)} test pictures of data set '{dataset}' are missing, the first is "
                    f"'{splits.folder / missing[0]}': restore them (see `skipbench data {dataset}`), "
                    "or leave out what is broken with data.skip_broken=true"
                )

    def _class_names(self, dataset: str, classes: str) -> list[str]:
        names = self._read(dataset).class_names
        return [names[label] for label in class_subset(len(names), classes)]

    def _texts(self, dataset: str, classes: str) -> list[str]:
        return prompt_texts(self.spec, dataset, self._class_names(dataset, classes))

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
        self,
        trainer: Trainer,
        tensors: dict[str, torch.Tensor],
        progress: dict[str, Any],
        tracker: Tracker,
        claim: Claim,
        use: DeviceUse,
    ) -> None:
        """Train from the last saved epoch on; record, save and track every epoch. Keeps `progress` up to date."""
        trainer.flops = progress["flops"]
        if tensors:
            trainer.load_state(tensors)
            log.info("going on from epoch %d", progress["epoch"])
        records = self.folder.read_metrics(epochs=progress["epoch"])
        tracker.log_epochs(records)

        def on_epoch(record: EpochRecord) -> None:
            claim.check()
            use.check()
            line = {**asdict(record), **self._validate(trainer, record.epoch + 1)}
            self.folder.append_metrics(line)
            records.append(line)
            costs = {"phases": trainer.meter.as_dict(), "flops": trainer.flops, "cache": trainer.images.facts()}
            progress["alone"] = progress["alone"] and use.alone
            progress.update(epoch=record.epoch + 1, **costs)
            self.folder.save_progress(trainer.state(), progress)
            tracker.log_epochs(records)
            log.info("epoch %(epoch)d loss %(loss).4f lr %(lr).3g train %(train_seconds).2f s", line)
            news = {
                "epoch": record.epoch + 1,
                "loss": record.loss,
                "images_per_second": record.images_per_second,
                "record": line,
            }
            self.report({"phase": "train", "epochs": self.spec.train.epochs, **news})

        self.report({"phase": "train", "epoch": progress["epoch"], "epochs": self.spec.train.epochs})
        trainer.train(progress["epoch"], on_epoch)

    def _validate(self, trainer: Trainer, epochs: int) -> dict[str, float]:
        """Accuracies after so many epochs, if they are asked for by then; test pictures are left for the end."""
        every = self.spec.train.validate_every
        if every is None or epochs % every:
            return {}
        method = trainer.method
        prompts = method.prompts
        items = [item for item in self.spec.evaluate if "test" not in item.splits]
        scores = {f"accuracy.{item.name}": self._evaluate(method, item, trainer.meter)["accuracy"] for item in items}
        with autocast(self.spec.train.precision, self.device):
            method.set_classes(prompts)
        return scores

    def _evaluate(self, method: Method, item: EvalSpec, meter: Meter) -> dict[str, Any]:
        self.report({"phase": "evaluate", "name": item.name})
        splits = self._read(item.dataset)
        labels = class_subset(len(splits.class_names), item.classes)
        chosen = keep_classes(self._pictures(item, splits), labels)
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
        about = {
            "template": prompt_template(self.spec, item.dataset),
            "layout": list(splits.layout),
            "broken_images": len(broken),
        }
        return {**item.model_dump(mode="json"), **about, **asdict(scores)}

    def _pictures(self, item: EvalSpec, splits: Splits) -> list[Picture]:
        """Pictures of the splits of an evaluation: of those that are not for testing, only the few-shot sample."""
        if item.splits == ("test",):
            return list(splits.test)
        sample = self._few_shot_sample(item.dataset, splits)
        held_out = self._hold_out(sample)[1] if item.dataset == self.spec.data.dataset else []
        available = {"train": sample.train, "val": sample.val, "held_out": held_out, "test": list(splits.test)}
        return [picture for split in item.splits for picture in available[split]]

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
    except SystemExit:
        log.warning("stopped")
        raise
    except BaseException:
        log.exception("failed")
        raise
    finally:
        log.removeHandler(handler)
        handler.close()

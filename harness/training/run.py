"""One run from start to finish: spec -> results/runs/<id>/."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch

from harness.clip.towers import CLIP
from harness.data.fewshot import pictures_hash
from harness.data.own_names import is_own
from harness.data.transforms import transform_hash
from harness.data.workers import kept_workers
from harness.errors import UserError
from harness.experiment.content import CHANGED_MEANWHILE, look_anew, weights_digest
from harness.experiment.spec import EvalSpec, RunSpec
from harness.experiment.templates import templates_of
from harness.machine import environment
from harness.machine.costs import Batches
from harness.machine.device import DeviceUse, both_alone, choose_device, device_use
from harness.machine.meter import Meter
from harness.results.folder import RunFolder
from harness.results.log import log, logging_to
from harness.results.progress import Progress
from harness.results.record import SCHEMA_VERSION, Costs, Evaluation, Prediction, Result
from harness.tracking.tracker import Tracker, warm_up
from harness.training.batches import Choose, at_the_same_time, most
from harness.training.build import build_clip, build_method, probe_setup
from harness.training.evaluate import evaluate
from harness.training.events import Notice, PhaseStarted, TrackingOffline
from harness.training.feature_cache import TrainingImages
from harness.training.feature_storage import Place
from harness.training.fitting import fit_to_images
from harness.training.inputs import datasets_of, input_files
from harness.training.kept_logits import LogitsKeeper
from harness.training.notices import data_notices, prompt_notice
from harness.training.precision import use_tf32
from harness.training.process import choose_workers, make_repeatable
from harness.training.refusals import find_refusals, refuse_trained_teacher, served
from harness.training.resuming import load_progress, misfit
from harness.training.run_data import RunData, exported_sample
from harness.training.same_prompts import Groups, refuse_same_prompts, same_prompts
from harness.training.sample_facts import sample_facts
from harness.training.selection import Choice, Selector
from harness.training.setup import Setup
from harness.training.shared_features import SharedFeatures, share_features
from harness.training.state import trained_parameters, trained_state, without_kept
from harness.training.trainer import Trainer
from harness.training.training import Report, Session, Train, Training
from harness.training.validation import Validation
from methods.base import Method, OtherClassesError


class Run:
    """One run.

    Args:
        spec: what to do.
        results: the results folder.
        report: takes the events of the run.
        choose: how many pictures go through the backbone at once where the spec leaves that open.

    Attributes:
        id: of the run; what its files contained when it began is part of that.
        data: the data sets of the run.
        folder: where its results are written.
        shared: features of the backbone that is set up.
    """

    def __init__(
        self, spec: RunSpec, results: Path, report: Report = lambda event: None, choose: Choose = most
    ) -> None:
        self.spec, self.id, self._choose = spec, spec.id, choose
        self.folder = RunFolder(results, self.id)
        self.report = report
        self.data = RunData(spec, tell=lambda line: self.report(Notice(line)))
        self._same_prompts: dict[tuple[str, str], Groups] = {}
        self.shared: SharedFeatures | None = None
        self.device = choose_device(spec.runtime.device)
        self.workers = choose_workers(spec, self.device)

    @cached_property
    def batches(self) -> Batches:
        """Pictures at once in caching passes and evaluations."""
        return self._choose(self.spec)

    def execute(self, train: Train | None = None) -> None:
        """Compute the run, or what is left of it, unless it is complete.

        Args:
            train: takes the steps of its training, if there is one; None: the run itself, alone.

        Raises:
            UserError: anything that the user can correct.
        """
        use_tf32(self.spec.train.precision, self.device)
        self.folder.create()
        with self.folder.claimed():
            if not self.folder.is_complete:
                with logging_to(self.folder.log_file), device_use(self.device) as use, kept_workers():
                    self.folder.prepare(self.spec)
                    try:
                        self._execute(use, train)
                    except OtherClassesError as error:
                        raise UserError(f"{self.spec.method}: {error}") from None
        self.folder.tidy()

    def set_up(self) -> Setup:
        """Load the backbone, draw the sample, build the method for the training classes.

        Raises:
            UserError: weights or images cannot be read, or options do not fit.
            OtherClassesError: the method can take part in none of the evaluations.
        """
        spec = self.spec
        precision = spec.train.precision
        clip = build_clip(spec.backbone, precision, self.device)
        self.shared = share_features(clip, spec, lambda line: self.report(Notice(line)))
        data = self.data.few_shot()
        texts = self.data.texts(spec.data.dataset, spec.data.classes)
        for dataset in filter(is_own, datasets_of(spec)):
            refuse_same_prompts(dataset, self.same_prompts(clip, dataset, "all"))
        method = build_method(clip, spec.method, spec.options, texts, precision, spec.seed, spec.train.caches)
        refuse_trained_teacher(method)
        refusals = find_refusals(method, spec.evaluate, lambda item: self.data.texts(item.dataset, item.classes))
        return Setup(clip, data, method, refusals)

    def training_images(self, setup: Setup, meter: Meter) -> TrainingImages:
        """The images of the run's sample at its method's stage."""
        clip, runtime = setup.clip, self.spec.runtime
        pictures = self.data.picture_set(setup.data.splits.folder, self.data.training_pictures(setup.data))
        return TrainingImages(
            clip,
            pictures,
            self.data.train_transform(clip),
            setup.method.image_start,
            self.spec.train,
            self.spec.seed,
            meter,
            self.workers,
            Place(self.device, runtime.cache_gpu_mib, runtime.cache_host_mib, self.folder.path),
            shared=self.shared,
            frozen_view=setup.method.frozen_view,
            batch_size=self.batches.cache,
        )

    def make_trainer(self, setup: Setup, meter: Meter) -> Trainer:
        """The trainer of the run's method on its sample, to which the method is fitted."""
        return Trainer(setup.method, self.fit(setup, meter), self.spec, meter)

    def fit(self, setup: Setup, meter: Meter) -> TrainingImages:
        """Fit the run's method to its sample, if it is a method that is fitted; returns the training images."""
        images = self.training_images(setup, meter)
        if setup.method.is_fitted():
            self.report(PhaseStarted("fit"))
            fit_to_images(setup.method, images, self.spec, meter)
        return images

    def selector(self, setup: Setup, meter: Meter) -> Selector:
        """What the run chooses by."""
        about = (self.spec, setup.data, self.data.test_transform(setup.clip), meter, self.workers, self.shared)
        return Selector(*about, batch_size=self.batches.evaluate)

    def evaluate(
        self, method: Method, item: EvalSpec, meter: Meter, keeper: LogitsKeeper | None = None
    ) -> tuple[Evaluation, list[Prediction]]:
        """One evaluation, and a few of its predictions; the method's classes are set to those of the evaluation.

        Its logits are given to the keeper, if there is one.

        Raises:
            UserError: there is nothing to evaluate on, or the logits are not finite.
        """
        self.report(PhaseStarted("evaluate", item.name))
        splits = self.data.read(item.dataset)
        pictures, broken = self.data.evaluated_pictures(item, splits)
        picture_set = self.data.picture_set(splits.folder, pictures)
        class_names = self.data.class_names(item.dataset, item.classes)
        scores, predictions, logits = evaluate(
            method,
            picture_set,
            class_names,
            self.data.texts(item.dataset, item.classes),
            self.data.test_transform(method.clip),
            meter,
            self.spec.train.precision,
            self.batches.evaluate,
            self.workers,
            self.shared,
        )
        evaluation = Evaluation(
            **item.model_dump(),
            template=templates_of(self.spec, item.dataset),
            layout=splits.facts,
            broken_images=len(broken),
            same_prompts=self.same_prompts(method.clip, item.dataset, item.classes),
            pictures_hash=pictures_hash(pictures, class_names),
            **vars(scores),
        )
        if keeper:
            keeper.keep(evaluation, class_names, logits, picture_set.labels, method.clip.logit_scale)
        return evaluation, predictions

    def same_prompts(self, clip: CLIP, dataset: str, classes: str) -> Groups:
        """Groups of classes that the text tower cannot tell apart; looked for once a run."""
        if (dataset, classes) not in self._same_prompts:
            prompts = clip.tokenize(self.data.texts(dataset, classes))
            found = same_prompts(prompts, self.data.class_names(dataset, classes))
            self._same_prompts[dataset, classes] = found
        return self._same_prompts[dataset, classes]

    def notices(self, setup: Setup) -> Iterator[str]:
        """What the user should know before the run trains, in one line each."""
        yield from data_notices(self.spec, self.data, setup.data)
        for item in self.spec.evaluate:
            yield from prompt_notice(item.dataset, self.same_prompts(setup.clip, item.dataset, item.classes))
        for refusal in setup.refusals:
            yield f"{self.spec.method} is not evaluated on '{refusal.evaluation}': {refusal.reason}"

    def check_unchanged(self) -> None:
        """Raise a UserError if files that the run names by their paths are not what they were when it began."""
        look_anew()
        if self.spec.id != self.id:
            raise UserError(CHANGED_MEANWHILE)

    def _execute(self, use: DeviceUse, train: Train | None) -> None:
        spec = self.spec
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if spec.runtime.threads:
            torch.set_num_threads(spec.runtime.threads)
        log.info("pictures at once: %s", self.batches)
        warm_up(spec)
        make_repeatable(spec.seed, spec.train.compile != "none")
        tensors, progress = load_progress(self.folder, spec, self._say_anew, lambda line: self.report(Notice(line)))
        meter = Meter(self.device, progress.phases)
        self.report(PhaseStarted("setup"))
        with meter.phase("setup"):
            setup = self.set_up()
        method = setup.method
        for line in (*setup.clip.notices, *self.notices(setup)):
            self.report(Notice(line))
        probe_setup(method, spec.train.precision, meter)
        trainer = self._prepare(setup, meter)
        if tensors and (reason := misfit(method, without_kept(tensors), spec.train)):
            self._say_anew(f"'{self.folder.path}' has the progress of another training ({reason})")
            tensors, progress = {}, Progress(starts=1)
            meter = Meter(self.device, {"setup": meter.phases["setup"]})
            trainer = self._prepare(setup, meter)
        # Before some of it is held out or cut, so that others can use the very same.
        self.folder.write_json("sample.json", exported_sample(spec, setup.data))
        inputs = input_files(spec, {name: self.data.read(name) for name in datasets_of(spec)})
        progress = progress.model_copy(update={"inputs": inputs})
        machine = environment.describe(self.device)
        tracker = Tracker(
            spec, self.folder.path, machine, lambda line: self.report(Notice(line)), self.folder.check_claim
        )
        if use.problem:
            log.warning("%s", use.problem)
            self.report(Notice(use.problem))
        if tracker.fell_back:
            self.report(TrackingOffline())
        selector = self.selector(setup, meter)
        if trainer:
            session = Session(use, tracker, self.report)
            judge = None if spec.select.epoch == "last" else selector.epoch_accuracy
            validate = self._validation(setup, meter) if spec.train.validate_every else None
            training = Training(trainer, self.folder, progress, session, validate, judge)
            progress = training.run(tensors, train)
        choice = self._search(method, selector)
        keeper = LogitsKeeper(self.folder, spec, lambda line: self.report(Notice(line)))
        evaluated = [self.evaluate(method, item, meter, keeper) for item in served(spec.evaluate, setup.refusals)]
        use.check()
        self.check_unchanged()
        # In a file of its own, so that the result stays small: tables read it for thousands of runs.
        self.folder.write_predictions({item.name: predictions for item, predictions in evaluated})
        alone = both_alone(both_alone(progress.alone, use.alone), not spec.runtime.device_shared)
        result = Result(
            schema_version=SCHEMA_VERSION,
            id=self.id,
            name=spec.name,
            batches=at_the_same_time(self.batches, method, self.device),
            recomputes={"image": setup.clip.image.recomputes, "text": setup.clip.text.recomputes},
            step_threads=trainer.threads if trainer and self.device.type == "cpu" else None,
            spec=spec,
            evaluations=tuple(evaluation for evaluation, _ in evaluated),
            refusals=setup.refusals,
            costs=self._costs(method, meter, progress, alone),
            method_facts=method.facts(),
            sample=sample_facts(spec, self.data, setup.data),
            selection=selector.record(choice, progress),
            layout=setup.data.splits.facts,
            transform_hash=transform_hash(
                [self.data.train_transform(setup.clip), self.data.test_transform(setup.clip)],
                setup.clip.mean,
                setup.clip.std,
            ),
            weights_sha256=weights_digest(spec.backbone),
            inputs=inputs,
            interruptions=progress.starts - 1,
            environment=machine,
        )
        keeper.keep_validation(self.data, setup, self.workers, self.shared, self.batches.evaluate)
        self.folder.finish(result)
        log.info("complete: %s", {name: round(accuracy, 2) for name, accuracy in result.accuracies.items()})
        # Last: a server may keep us waiting, and what it does not get now it gets later from the result.
        tracker.finish(result)

    def _prepare(self, setup: Setup, meter: Meter) -> Trainer | None:
        """Fit the method; returns its trainer, or None if nothing trains."""
        if setup.method.trains:
            return self.make_trainer(setup, meter)
        if setup.method.is_fitted():
            self.fit(setup, meter)
        return None

    def _validation(self, setup: Setup, meter: Meter) -> Validation:
        """What the run is validated on while it trains."""
        transform, tell = self.data.test_transform(setup.clip), lambda line: self.report(Notice(line))
        return Validation(self.spec, setup.data, transform, meter, setup.refusals, tell, self.workers, self.shared)

    def _search(self, method: Method, selector: Selector) -> Choice | None:
        """What the method chooses on validation images, if it chooses anything."""
        if not method.selects():
            return None
        self.report(PhaseStarted("select"))
        choice = selector.search(method)
        self.folder.write_json(
            "selection.json", {"candidates": list(choice.candidates), "accuracies": list(choice.accuracies)}
        )
        return choice

    def _say_anew(self, reason: str) -> None:
        log.warning("%s: the run starts anew", reason)
        self.report(Notice(f"{reason}: the run starts anew"))

    def _costs(self, method: Method, meter: Meter, progress: Progress, alone: bool | None) -> Costs:
        """Costs of the whole run; saves the checkpoint to know its size."""
        trained, about = trained_parameters(method), {"id": self.id, "spec": self.spec.settings()}
        return Costs(
            phases=meter.phases,
            alone=alone,
            together=progress.together if progress.together > 1 else None,
            trainable_parameters=sum(p.numel() for p in trained.values()),
            total_parameters=sum(p.numel() for p in method.parameters()),
            train_flops_per_image=progress.flops.get("train"),
            cache_flops_per_image=progress.flops.get("cache"),
            **progress.cache.model_dump(),
            checkpoint_bytes=self.folder.save_checkpoint(trained_state(method), about) if trained else 0,
        )

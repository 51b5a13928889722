"""Keeping the logits of a run's evaluations, as far as they fit. It changes no number of the run."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harness.data.fewshot import pictures_hash
from harness.errors import NoSpaceError, UserError
from harness.experiment.place import MOST_EVALUATED
from harness.experiment.spec import RunSpec
from harness.machine.units import MIB
from harness.results.folder import RunFolder
from harness.results.log import log
from harness.results.logits import (
    VALIDATION,
    VALIDATION_FILE,
    KeptLogits,
    LogitsFacts,
    bytes_of,
    logits_file,
    remove_logits,
)
from harness.results.record import Evaluation
from harness.training.evaluate import Classifier
from harness.training.run_data import RunData
from harness.training.setup import Setup
from harness.training.shared_features import SharedFeatures


class LogitsKeeper:
    """Writes the logits of a run's evaluations into its folder, up to `runtime.keep_logits_mib` together.

    Args:
        folder: of the run, which is claimed; logits of an earlier start are removed.
        spec: of the run.
        say: takes one line about what is not kept.
    """

    def __init__(self, folder: RunFolder, spec: RunSpec, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.spec = spec
        self.say = say
        self._left = spec.runtime.keep_logits_mib * MIB
        remove_logits(folder)

    def keep(
        self, evaluation: Evaluation, class_names: Sequence[str], logits: Tensor, labels: Tensor, scale: Tensor
    ) -> None:
        """Keep the logits of an evaluation.

        Args:
            evaluation: which.
            class_names: C names.
            logits: (N, C), on the CPU.
            labels: (N,).
            scale: logarithm of the factor of the backbone's cosines.

        Raises:
            UserError: the file cannot be written, or the run was taken over; a full disk is no error.
        """
        facts = LogitsFacts(
            run=self.folder.path.name,
            evaluation=evaluation.name,
            dataset=evaluation.dataset,
            classes=evaluation.classes,
            splits=evaluation.splits,
            class_names=tuple(class_names),
            pictures_hash=evaluation.pictures_hash,
            scale=float(scale.exp()),
        )
        self._write(logits_file(evaluation.name), facts, logits, labels)

    @torch.no_grad()
    def keep_validation(
        self,
        data: RunData,
        setup: Setup,
        workers: int,
        shared: SharedFeatures | None,
        batch_size: int = MOST_EVALUATED,
    ) -> None:
        """Classify the validation images that a run may choose by among its training classes, and keep the logits.

        Only if `runtime.keep_validation_logits` asks for it. Nothing of the result depends on them, and their cost is
        no part of it. A data set without such images is no error.

        Raises:
            UserError: as `keep`, or an image cannot be read.
        """
        spec, method = self.spec, setup.method
        if not (spec.runtime.keep_validation_logits and spec.runtime.keep_logits_mib):
            return
        if not (setup.data.splits.val or setup.data.splits.train):
            self.say(f"no logits of validation images are kept: data set '{spec.data.dataset}' has none")
            return
        try:
            pictures = data.validation_pictures(setup.data, "val")
        except UserError as error:
            self.say(f"no logits of validation images are kept: {error}")
            return
        names = data.class_names(spec.data.dataset, spec.data.classes)
        classifier = Classifier(
            method,
            data.picture_set(setup.data.splits.folder, pictures),
            data.texts(spec.data.dataset, spec.data.classes),
            data.test_transform(method.clip),
            spec.train.precision,
            batch_size,
            workers,
            shared,
        )
        logits = classifier.logits(classifier.features())
        if not logits.isfinite().all():
            self.say("no logits of validation images are kept: they are not finite")
            return
        facts = LogitsFacts(
            run=self.folder.path.name,
            evaluation=VALIDATION,
            dataset=spec.data.dataset,
            classes=spec.data.classes,
            splits=("val",),
            class_names=tuple(names),
            pictures_hash=pictures_hash(pictures, names),
            scale=float(method.clip.logit_scale.exp()),
        )
        self._write(VALIDATION_FILE, facts, logits, classifier.pictures.labels)

    def _write(self, name: str, facts: LogitsFacts, logits: Tensor, labels: Tensor) -> None:
        limit = self.spec.runtime.keep_logits_mib
        if not limit:
            return
        needed = bytes_of(*logits.shape)
        if needed <= self._left:
            data = KeptLogits.of(facts, logits.numpy(), labels.numpy()).to_bytes()
            needed = len(data)
        if needed > self._left:
            self._not_kept(
                facts,
                f"they take {needed / MIB:.1f} MiB, and {self._left / MIB:.1f} are left of "
                f"runtime.keep_logits_mib={limit}",
            )
            return
        try:
            self.folder.write(name, data)
        except NoSpaceError as error:
            self._not_kept(facts, str(error))
            return
        self._left -= needed

    def _not_kept(self, facts: LogitsFacts, reason: str) -> None:
        line = f"logits of '{facts.evaluation}' are not kept: {reason}"
        log.info("%s", line)
        self.say(line)

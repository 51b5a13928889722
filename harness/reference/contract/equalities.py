"""Properties of what must come out the same: repeated, cached, resumed, loaded, estimated, beside the official code."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from harness.clip.texts import Text
from harness.estimate.estimator import Estimator
from harness.experiment.spec import EvalSpec
from harness.machine.meter import Meter
from harness.machine.units import MIB
from harness.reference.contract.candidate import Candidate
from harness.reference.contract.fitting import other_labels, use_a_candidate
from harness.reference.contract.same import first_difference, is_close
from harness.reference.contract.verdicts import Broken, NothingToCheck
from harness.reference.contract.ways import CPU, OTHER, PLAIN, SEEN, Trained, Way
from harness.reference.parity.naming import is_replayed_by
from harness.reference.parity.replay import replay
from harness.reference.parity.vectors import Vectors
from harness.results.epochs import EpochRecord
from harness.results.files import load_tensors, save_tensors
from harness.training.build import probe_setup
from harness.training.fitting import fit_to_images
from harness.training.selection import Selector, probe_choice
from harness.training.state import load_trained_state, trained_parameters, trained_state
from harness.training.trainer import Trainer
from methods.base import Method

# How far two trainings may be apart by rounding: a share of how far a parameter moved, and a share of its size, which
# is larger for a buffer, since that may be computed anew, and for whatever a method fits to features.
OF_MOVEMENT, OF_SIZE, OF_BUFFER = 1e-2, 1e-7, 1e-5


def repeats_bit_for_bit(candidate: Candidate) -> str:
    """The same seed gives the same bytes."""
    first, again = (outcome(candidate) for _ in range(2))
    name = first_difference(first, again)
    if name:
        raise Broken(
            f"'{name}' differs between two runs with the same seed: draw with torch (torch.rand, nn.init), which the "
            "harness seeds, and keep nothing outside the method"
        )
    return f"{sum(value.nbytes for value in first.values()):,} bytes"


def trains_the_same_with_and_without_cache(candidate: Candidate) -> str:
    """`train.cache=fresh` and `none` end with the same weights; bit for bit while the speed-ups are off."""
    reason = "what is cached depends on what trains: look at start_stages(), and at what build() and set_classes() keep"
    if candidate.cls.is_fitted() and not candidate.cls.trains:
        fresh, none = (fitted_state(candidate, Way(cached=cached, speedups=False)) for cached in (True, False))
        if name := first_difference(fresh, none):
            raise Broken(f"'{name}' differs, speed-ups off, between fits with train.cache=fresh and none: {reason}")
        return "bit for bit without speed-ups"
    name = far_apart(candidate.trained, candidate.train(Way(cached=False)))
    if name:
        raise Broken(f"'{name}' differs between trainings with train.cache=fresh and none: {reason}")
    fresh, none = (candidate.train(Way(cached=cached, speedups=False)).state for cached in (True, False))
    name = first_difference(fresh, none)
    if name:
        raise Broken(f"'{name}' differs, speed-ups off, between trainings with train.cache=fresh and none: {reason}")
    return "bit for bit without speed-ups"


def trains_the_same_with_and_without_speedups(candidate: Candidate) -> str:
    """Speed-ups change training and logits by no more than rounding."""
    reason = (
        "a method that changes the words of prompts tells Tower.run() by eot= where each text ends, and by shared= how "
        "many first tokens are the same for all classes"
    )
    fast, plain = candidate.build(), candidate.build(Way(speedups=False))
    if candidate.cls.trains:
        without = candidate.train(Way(speedups=False))
        name = far_apart(candidate.trained, without)
        if name:
            raise Broken(f"'{name}' differs between trainings with the speed-ups and without: {reason}")
        # The same weights, so that only the computation of logits is compared.
        for method in (fast, plain):
            load_trained_state(method, dict(trained_state(without.method)))
    elif candidate.cls.is_fitted():
        # A closed form may be badly conditioned: a matter of the paper, not of the speed-ups.
        load_trained_state(fast, dict(trained_state(plain)))
    for texts in texts_that_fit(candidate, fast):
        if not is_close(candidate.logits(fast, texts), candidate.logits(plain, texts)):
            raise Broken(f"the logits differ with the speed-ups and without: {reason}")
    return ""


class _Interrupted(Exception):  # noqa: N818
    """Stands for whatever ends a process."""


def resumes_bit_for_bit(candidate: Candidate) -> str:
    """A training that is interrupted after an epoch and continued from its file ends with the same bytes."""

    def interrupt(record: EpochRecord) -> None:
        save_tensors(file, interrupted.state(), {})
        raise _Interrupted

    whole = candidate.trained
    with TemporaryDirectory() as folder:
        file = Path(folder) / "progress.safetensors"
        interrupted = candidate.trainer()
        try:
            interrupted.train(0, interrupt)
        except _Interrupted:
            saved, _ = load_tensors(file)
    resumed = candidate.trainer()
    resumed.load_state(saved)
    resumed.train(1, lambda record: None)
    if checkpoint_bytes(resumed.method) != checkpoint_bytes(whole.method):
        name = first_difference(dict(trained_state(whole.method)), dict(trained_state(resumed.method)))
        raise Broken(
            f"'{name}' differs between a training that was interrupted after its first epoch and one that was not: "
            "keep whatever changes in training in parameters that train or in buffers"
        )
    return f"{len(checkpoint_bytes(resumed.method)):,} bytes"


def loads_from_its_checkpoint(candidate: Candidate) -> str:
    """A checkpoint, loaded into a method of another seed that is fitted to other shots, gives the same logits."""
    if not (candidate.cls.trains or candidate.cls.is_fitted()):
        raise NothingToCheck("nothing trains and nothing is fitted")
    method = candidate.finished
    if candidate.cls.selects():
        use_a_candidate(method)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.safetensors"
        size = save_tensors(file, trained_state(method), {})
        saved, _ = load_tensors(file)
    other = Way(seed=2)
    shots = other_labels(candidate.shots(other), len(candidate.texts)) if candidate.cls.is_fitted() else None
    fresh = candidate.build(other, shots=shots)
    load_trained_state(fresh, saved)
    for texts in texts_that_fit(candidate, method):
        if not torch.equal(candidate.logits(method, texts), candidate.logits(fresh, texts)):
            raise Broken(
                "the logits differ when the checkpoint is loaded into a method that was built with another seed"
                f"{' and fitted to others' if shots else ''}: keep all that is drawn or learned in parameters that "
                "train or in buffers, and compute nothing from them ahead in build()"
            )
    return f"{size:,} bytes"


def is_estimated_as_measured(candidate: Candidate) -> str:
    """`skipbench estimate` tells the peaks of memory that a run measures, to the byte."""
    evaluations = evaluations_that_fit(candidate)
    estimate = Estimator().estimate(candidate.spec.model_copy(update={"evaluate": evaluations}), flops=False)
    measured = measured_peaks(candidate, evaluations)
    estimated = {phase: peak.num_bytes for phase, peak in estimate.phases.items()}
    for phase in sorted(estimated.keys() | measured.keys()):
        ours, theirs = estimated.get(phase, 0), measured.get(phase, 0)
        if estimate.is_guess(phase):
            continue
        # Which classes a batch trains on may depend on its images; then the estimate says that it is a bound.
        if ours < theirs or (ours > theirs and not estimate.is_upper_bound(phase)):
            raise Broken(
                f"the peak of phase {phase} is estimated as {ours:,} bytes and measured as {theirs:,}: shapes and what "
                "is kept may not depend on the values of weights and images"
            )
    sizes = ", ".join(f"{phase} {size / MIB:.1f}" for phase, size in estimated.items())
    remark = ", train is a bound" if estimate.is_bound else ""
    return f"MiB: {sizes}{remark}{', fit and select are guesses' if estimate.made_up else ''}"


def equals_the_official_implementation(candidate: Candidate) -> str:
    """The method gives the numbers of its authors' code, where there are vectors of it."""
    official, folder = candidate.cls.official, candidate.vectors
    if official is None:
        raise NothingToCheck("the class declares no official implementation")
    if folder is None:
        raise NothingToCheck("no reference vectors are given: add --vectors DIR")
    all_vectors = [Vectors(description) for description in sorted(folder.glob("*.json"))]
    chosen = [vectors for vectors in all_vectors if is_replayed_by(candidate.cls, vectors)]
    if not chosen:
        raise NothingToCheck(f"'{folder}' has no vectors of {' or '.join(official.trainers)}")
    comparisons = [item for vectors in chosen for item in replay(candidate.cls, vectors)]
    over = [item for item in comparisons if not item.passed]
    if over:
        worst = max(over, key=lambda item: item.severity)
        raise Broken(
            f"{worst.quantity} of {worst.method} is off by {worst.error:.1e}, and {worst.tolerance:.1e} is allowed: "
            f"`skipbench parity {folder}` shows all"
        )
    return f"{len(comparisons)} comparisons, {', '.join(vectors.name for vectors in chosen)}"


def outcome(candidate: Candidate) -> dict[str, Tensor]:
    """What a run ends with: what its trainer would save, or what was fitted and the logits where nothing trains."""
    return candidate.train().state if candidate.cls.trains else fitted_state(candidate)


def fitted_state(candidate: Candidate, way: Way = PLAIN) -> dict[str, Tensor]:
    """What a method that trains nothing is made of, and its logits."""
    method = candidate.build(way)
    return {**trained_state(method), "logits": candidate.logits(method, candidate.texts)}


def far_apart(ours: Trained, theirs: Trained) -> str | None:
    """The name of the first trained tensor that differs by more than rounding between two trainings."""
    exact = {} if ours.method.is_fitted() else trained_parameters(ours.method)
    for name in trained_state(ours.method):
        start, first, second = ours.before[name], ours.state[name], theirs.state[name]
        if start.is_floating_point():
            share = OF_SIZE if name in exact else OF_BUFFER
            allowed = OF_MOVEMENT * (second - start).norm() + share * start.norm()
            if not (first - second).norm() <= allowed:
                return name
        elif not torch.equal(first, second):
            return name
    return None


def checkpoint_bytes(method: Method) -> bytes:
    """The file that a run would save."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.safetensors"
        save_tensors(file, trained_state(method), {})
        return file.read_bytes()


def texts_that_fit(candidate: Candidate, method: Method) -> list[list[Text]]:
    """Prompts of the training classes and, unless the method refuses them, of others."""
    return [candidate.texts, *([] if candidate.refusal(method) else [candidate.other_texts])]


def evaluations_that_fit(candidate: Candidate) -> tuple[EvalSpec, ...]:
    """Evaluations on the training classes and, unless the method refuses them, on others."""
    return (SEEN,) if candidate.refusal(candidate.build()) else (SEEN, OTHER)


def measured_peaks(candidate: Candidate, evaluations: tuple[EvalSpec, ...]) -> dict[str, int]:
    """Phase -> peak of live bytes, as a run measures it."""
    meter, run, method = Meter(CPU), candidate.run(), candidate.build_unfitted()
    probe_setup(method, run.spec.train.precision, meter)
    images = candidate.images(method, meter=meter)
    if candidate.cls.is_fitted():
        fit_to_images(method, images, run.spec, meter)
    if candidate.cls.trains:
        trainer = Trainer(method, images, run.spec, meter)
        images.prepare(0)
        trainer.probe(0, trainer.draw_batches(0)[0], flops=False)
    if candidate.cls.selects():
        selector = Selector(run.spec, candidate.few_shot, run.data.test_transform(method.clip), meter, workers=0)
        validation = selector.validation(method, "val")
        probe_choice(method, validation, next(method.search()), meter)
    for item in evaluations:
        run.evaluate(method, item, meter)
    peaks = {name: phase.peak_tensor_bytes for name, phase in meter.phases.items()}
    return {name: peak for name, peak in peaks.items() if peak}

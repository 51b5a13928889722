"""What a result says of the k-shot sample of its run."""

from harness.data.fewshot import sample_hash
from harness.experiment.spec import RunSpec
from harness.results.record import SampleFacts
from harness.training.notices import training_shots
from harness.training.run_data import FewShotData, RunData


def sample_facts(spec: RunSpec, data: RunData, few_shot: FewShotData) -> SampleFacts:
    """Facts about the sample of a run.

    Args:
        spec: the run.
        data: that it reads.
        few_shot: what it may look at while it trains.
    """
    sample = few_shot.sample
    return SampleFacts(
        hash=sample_hash(sample.train),
        train_images=len(sample.train),
        val_images=len(sample.val),
        broken_images=tuple(broken.path for broken in few_shot.broken),
        shots=training_shots(spec, data, few_shot),
        noisy_labels=data.noisy_labels(few_shot),
    )

"""What a result says of the k-shot sample that its run learned from."""

from harness.data.fewshot import sample_hash
from harness.experiment.spec import RunSpec
from harness.results.record import SampleFacts
from harness.training.notices import training_shots
from harness.training.run_data import FewShotData, RunData


def sample_facts(spec: RunSpec, data: RunData, sample: FewShotData) -> SampleFacts:
    """The facts about a sample that was drawn for a run."""
    return SampleFacts(
        hash=sample_hash(sample.sample.train),
        train_images=len(sample.sample.train),
        val_images=len(sample.sample.val),
        broken_images=tuple(broken.path for broken in sample.broken),
        shots=training_shots(spec, data, sample),
        noisy_labels=data.noisy_labels(sample),
    )

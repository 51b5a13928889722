"""Where a run is executed and tracked. None of it changes a result, so none of it is part of a run's id."""

import os
from typing import Literal

from pydantic import Field

from harness.experiment.axes import Word
from harness.experiment.settings import Section

# More threads or processes than any machine has are a mistake that would take it down.
MOST_THREADS = 4096
MOST_EVALUATED = 100
"""Pictures a batch of evaluations, if the run leaves their number open and memory allows it."""
FIRST_SEED = 1
"""Of the usual seeds 1, 2, 3."""


class WandbSpec(Section):
    """Where a run is tracked."""

    mode: Literal["offline", "online", "disabled"] | None = Field(
        None, description="null: WANDB_MODE or WANDB_DISABLED, and without them offline"
    )
    project: str | None = Field(None, description="W&B project; null: WANDB_PROJECT, and without that skipbench")
    entity: str | None = Field(None, description="W&B team or user; null: WANDB_ENTITY, and without that your default")
    group: str | None = Field(
        None, max_length=128, description="W&B group; null: WANDB_RUN_GROUP, and without that the experiment's name"
    )
    tags: tuple[str, ...] = Field(
        (), description="W&B tags besides method, data set, protocol and backbone; none: those of WANDB_TAGS"
    )


SinkName = Literal["tensorboard", "mlflow", "trackio"]


class TrackingSpec(Section):
    """What is recorded of a run for whoever watches it, and where it goes beside W&B. Changes no result."""

    sinks: tuple[SinkName, ...] = Field(
        (), description="where a run is tracked besides W&B: tensorboard, mlflow, trackio, each an extra to install"
    )
    steps: int = Field(
        200,
        ge=0,
        le=1_000_000,
        description="training steps whose loss and learning rates are recorded, evenly spaced, at least one an epoch; "
        "0: none",
    )
    media: bool | None = Field(
        None, description="predictions with pictures, confusions, accuracy of classes; null: of runs with seed 1"
    )
    artifacts: bool = Field(False, description="checkpoint and k-shot sample are delivered too")
    system: bool = Field(
        False, description="processor and memory of the run's processes are recorded after every epoch"
    )
    trial: int | None = Field(None, ge=0, description="number of the trial that computed the run; sweeps set it")

    def with_media(self, seed: int) -> bool:
        """Whether tables and pictures of a run with a seed are delivered."""
        return seed == FIRST_SEED if self.media is None else self.media


class RuntimeSpec(Section):
    """Where and how a run is executed. Changes no result, so it is no part of the run's id."""

    device: Word = Field("auto", description="auto, cpu, cuda or cuda:1")
    threads: int | None = Field(None, ge=1, le=MOST_THREADS, description="CPU threads; null: one a core")
    step_threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="CPU threads of training steps; null: all of `threads`, but at most 2 for narrow backbones",
    )
    workers: int | None = Field(
        None, ge=0, le=MOST_THREADS, description="processes that decode pictures; null: 0 beside a CPU, 8 beside a GPU"
    )
    eval_batch_size: int | None = Field(
        None,
        ge=1,
        description="pictures a batch in evaluation; null: as many as take no more memory than a training step, at "
        f"most {MOST_EVALUATED}",
    )
    cache_gpu_mib: int = Field(4096, ge=0, description="cached features up to this size stay on the GPU")
    cache_host_mib: int = Field(
        16384, ge=0, description="cached features up to this size stay in memory, larger ones in a file"
    )
    feature_store: str | None = Field(
        None,
        description="folder of image features that runs share; null: SKIPBENCH_FEATURES, and without that "
        "skipbench/features in your cache folder",
    )
    feature_store_mib: int = Field(
        4096, ge=0, description="size of that folder, what was not used for longest is removed; 0: no features are kept"
    )
    picture_store: str | None = Field(
        None,
        description="folder of decoded pictures that runs share; null: SKIPBENCH_PICTURES, and without that "
        "skipbench/pictures in your cache folder",
    )
    picture_store_mib: int = Field(
        8192, ge=0, description="size of that folder, what is in use is not removed for what is new; 0: nothing is kept"
    )
    keep_logits_mib: int = Field(
        64, ge=0, description="logits of a run's evaluations are kept up to this size, see `rescore`; 0: none are kept"
    )
    keep_validation_logits: bool = Field(
        False, description="also keep logits of the validation pictures, to fit a temperature: one more pass over these"
    )
    data_root: str | None = Field(None, description="folder that holds the data sets; null: $DATA")
    device_shared: bool = Field(False, description="others use the device: costs are marked as not measured alone")

    def find_data_root(self) -> str | None:
        """The data root asked for, else $DATA."""
        return self.data_root or os.environ.get("DATA")

    def find_feature_store(self) -> str | None:
        """The folder of shared features asked for, else SKIPBENCH_FEATURES."""
        return self.feature_store or os.environ.get("SKIPBENCH_FEATURES")

    def find_picture_store(self) -> str | None:
        """The folder of decoded pictures asked for, else SKIPBENCH_PICTURES."""
        return self.picture_store or os.environ.get("SKIPBENCH_PICTURES")

"""More data sets of the paper about CLIP (https://arxiv.org/abs/2103.00020, table 9), as torchvision lays them out.

Class names and the first of the templates are those that its authors publish.
"""

from functools import partial

from harness.data.description import Counts, DataSet
from harness.data.more_layouts import read_birds, read_country, read_resisc, read_signs
from harness.data.packed_datasets import read_packed_dataset

CIFAR10_BATCHES = tuple((f"data_batch_{number}", "") for number in range(1, 6))
PCAM = "camelyonpatch_level_2_split_"

CLIP_ROWS = (
    DataSet(
        "cifar10",
        "cifar-10-batches-py",
        partial(
            read_packed_dataset,
            dataset="cifar10",
            form="cifar10",
            files={"train": CIFAR10_BATCHES, "test": (("test_batch", ""),)},
            places=("", "cifar-10-batches-py", "cifar-10-batches-bin"),
        ),
        "a photo of a {}.",
        aliases=("cifar-10-batches-bin", "cifar10"),
        about="10 classes, 32 x 32 pixels",
        expected=Counts(10, 50000, 0, 10000),
        source="https://www.cs.toronto.edu/~kriz/cifar.html (the Python or the binary version)",
    ),
    DataSet(
        "cifar100",
        "cifar-100-python",
        partial(
            read_packed_dataset,
            dataset="cifar100",
            form="cifar100",
            files={"train": (("train", ""),), "test": (("test", ""),)},
            places=("", "cifar-100-python", "cifar-100-binary"),
        ),
        "a photo of a {}.",
        aliases=("cifar-100-binary", "cifar100"),
        about="100 classes, 32 x 32 pixels",
        expected=Counts(100, 50000, 0, 10000),
        source="https://www.cs.toronto.edu/~kriz/cifar.html (the Python or the binary version)",
    ),
    DataSet(
        "mnist",
        "MNIST",
        partial(
            read_packed_dataset,
            dataset="mnist",
            form="idx",
            files={
                "train": (("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),),
                "test": (("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),),
            },
            places=("raw", ""),
        ),
        'a photo of the number: "{}".',
        about="10 digits, 28 x 28 pixels",
        expected=Counts(10, 60000, 0, 10000),
        source="https://yann.lecun.com/exdb/mnist/ (its four files, compressed or not)",
    ),
    DataSet(
        "stl10",
        "stl10_binary",
        partial(
            read_packed_dataset,
            dataset="stl10",
            form="stl10",
            files={"train": (("train_X", "train_y"),), "test": (("test_X", "test_y"),)},
            places=("", "stl10_binary"),
            first_label=1,
            label_form="bytes",
        ),
        "a photo of a {}.",
        aliases=("stl10",),
        about="10 classes, 96 x 96 pixels",
        expected=Counts(10, 5000, 0, 8000),
        source="https://cs.stanford.edu/~acoates/stl10/ (the binary version)",
    ),
    DataSet(
        "pcam",
        "pcam",
        partial(
            read_packed_dataset,
            dataset="pcam",
            form="h5",
            files={
                split: ((f"{PCAM}{part}_x", f"{PCAM}{part}_y"),)
                for split, part in (("train", "train"), ("val", "valid"), ("test", "test"))
            },
        ),
        "this is a photo of {}",
        about="2 classes of tissue, 96 x 96 pixels (PatchCamelyon)",
        expected=Counts(2, 262144, 32768, 32768),
        source="https://github.com/basveeling/pcam (six files .h5; reading them needs h5py)",
    ),
    DataSet(
        "gtsrb",
        "gtsrb",
        read_signs,
        'a zoomed in photo of a "{}" traffic sign.',
        about="43 traffic signs",
        expected=Counts(43, 26640, 0, 12630),
        source="https://benchmark.ini.rub.de/ (Training_fixed, Final_Test_Images and Final_Test_GT)",
    ),
    DataSet(
        "country211",
        "country211",
        read_country,
        "a photo i took in {}.",
        about="211 countries",
        expected=Counts(211, 31650, 10550, 21100),
        source="https://github.com/openai/CLIP/blob/main/data/country211.md",
    ),
    DataSet(
        "resisc45",
        "resisc45",
        partial(read_resisc, images=("NWPU-RESISC45", "")),
        "satellite imagery of {}.",
        aliases=("NWPU-RESISC45",),
        about="45 scenes from above",
        expected=Counts(45, 18900, 6300, 6300),
        source="NWPU-RESISC45 of https://gcheng-nwpu.github.io/; without resisc45-train.txt, ... it is split here",
    ),
    DataSet(
        "birdsnap",
        "birdsnap",
        partial(read_birds, images=("images", "download/images", "")),
        "a photo of a {}, a type of bird.",
        about="500 species of birds",
        expected=Counts(500, 47386, 0, 2443),
        source="https://thomasberg.org/ (get_birdsnap.py, then test_images.txt)",
    ),
)

"""Where the archives of data sets are, for those that may be downloaded without an account.

Addresses and checksums (MD5) are those that their authors, or torchvision, give. They were not tried from here.
"""

from dataclasses import dataclass

VGG = "https://www.robots.ox.ac.uk/~vgg/data"
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
KRIZ = "https://www.cs.toronto.edu/~kriz"


@dataclass(frozen=True)
class Download:
    """One file of a data set on the web.

    Attributes:
        url: its address.
        md5: its checksum; None if none is published.
        into: the folder under the data root that it is unpacked in, or that it belongs in.
        unpack: whether it is an archive.
        inner: an archive in this archive, relative to `into`, that is unpacked beside itself.
    """

    url: str
    md5: str | None = None
    into: str = ""
    unpack: bool = True
    inner: str = ""

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.url.rpartition("/")[2]


def mnist(name: str, md5: str) -> Download:
    """One of the four files of MNIST, which are read as they are."""
    return Download(f"{MNIST}/{name}-ubyte.gz", md5, "MNIST/raw", unpack=False)


DOWNLOADS: dict[str, tuple[Download, ...]] = {
    "caltech101": (
        Download(
            "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            "3138e1922a9193bfa496528edbbc45d0",
            inner="caltech-101/101_ObjectCategories.tar.gz",
        ),
    ),
    "oxford_pets": (
        Download(f"{VGG}/pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", "oxford_pets"),
        Download(f"{VGG}/pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", "oxford_pets"),
    ),
    "oxford_flowers": (
        Download(f"{VGG}/flowers/102/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", "oxford_flowers"),
        Download(
            f"{VGG}/flowers/102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", "oxford_flowers", unpack=False
        ),
    ),
    "food101": (Download("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),),
    "fgvc_aircraft": (Download(f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"),),
    "sun397": (
        Download(
            "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz", "8ca2778205c41d23104230ba66911c7a", "sun397"
        ),
        Download("https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip", None, "sun397"),
    ),
    "dtd": (Download(f"{VGG}/dtd/download/dtd-r1.0.1.tar.gz", "fff73e5086ae6bdbea199a49dfb8a4c1"),),
    "eurosat": (
        Download("https://madm.dfki.de/files/sentinel/EuroSAT.zip", "c8fa014336c82ac7804f0398fcb19387", "eurosat"),
    ),
    "cifar10": (Download(f"{KRIZ}/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
    "cifar100": (Download(f"{KRIZ}/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),),
    "mnist": (
        mnist("train-images-idx3", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        mnist("train-labels-idx1", "d53e105ee54ea40749a09fcbcd1e9432"),
        mnist("t10k-images-idx3", "9fb629c4189551a2d022fa330f9573f3"),
        mnist("t10k-labels-idx1", "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    "stl10": (
        Download("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"),
    ),
    "gtsrb": (
        Download(f"{GTSRB}/GTSRB-Training_fixed.zip", "513f3c79a4c5141765e10e952eaa2478", "gtsrb"),
        Download(f"{GTSRB}/GTSRB_Final_Test_Images.zip", "c7e4e6327067d32654124b0fe9e82185", "gtsrb"),
        Download(f"{GTSRB}/GTSRB_Final_Test_GT.zip", "fe31e9c9270bbcd7b84b7f21a9d9d9e5", "gtsrb"),
    ),
    "country211": (
        Download("https://openaipublic.azureedge.net/clip/data/country211.tgz", "84988d7644798601126c29e9877aab6a"),
    ),
}
"""Data set -> its files."""

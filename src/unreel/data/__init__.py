"""Data: bytes -> Clip -> ClipBatch. What there is, how it is divided, which frames are read, and in what order."""

from unreel.data.cache import FrameCache
from unreel.data.content import content_hash
from unreel.data.dataset import Broken, ClipDataset
from unreel.data.film_loading import FilmLoader
from unreel.data.films import LONG_FRAMES, Film
from unreel.data.folders import from_folders, load
from unreel.data.frame_labels import at_once, frame_times
from unreel.data.loading import ClipLoader
from unreel.data.manifest import (
    Example,
    Manifest,
    ManifestConfig,
    Segment,
    as_segments,
    read_manifest,
    write_manifest,
)
from unreel.data.report import DataReport, FileReport
from unreel.data.report_plot import scan_plot
from unreel.data.sampling import SamplingConfig, choose, windows
from unreel.data.scanning import scan
from unreel.data.splits import SplitConfig, Splits, split
from unreel.data.targets import values_of_frames, values_of_steps
from unreel.data.transforms import AugmentConfig, PreprocessConfig, augment, preprocess
from unreel.data.weights import class_weights, example_weights, positive_weights

__all__ = [
    "LONG_FRAMES",
    "AugmentConfig",
    "Broken",
    "ClipDataset",
    "ClipLoader",
    "DataReport",
    "Example",
    "FileReport",
    "Film",
    "FilmLoader",
    "FrameCache",
    "Manifest",
    "ManifestConfig",
    "PreprocessConfig",
    "SamplingConfig",
    "Segment",
    "SplitConfig",
    "Splits",
    "as_segments",
    "at_once",
    "augment",
    "choose",
    "class_weights",
    "content_hash",
    "example_weights",
    "frame_times",
    "from_folders",
    "load",
    "positive_weights",
    "preprocess",
    "read_manifest",
    "scan",
    "scan_plot",
    "split",
    "values_of_frames",
    "values_of_steps",
    "windows",
    "write_manifest",
]

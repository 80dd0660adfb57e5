"""Data: bytes -> Clip -> ClipBatch. What there is, how it is divided, which frames are read, and in what order."""

from unreel.data.cache import FrameCache
from unreel.data.content import content_hash
from unreel.data.dataset import Broken, ClipDataset
from unreel.data.downloading import IMAGE_SETS, download
from unreel.data.film_loading import FilmLoader
from unreel.data.films import LONG_FRAMES, Film
from unreel.data.folders import from_folders, load
from unreel.data.frame_labels import at_once, frame_times
from unreel.data.loading import ClipLoader
from unreel.data.manifest import Example, Manifest, ManifestConfig, Segment, as_segments
from unreel.data.manifest_files import read_manifest, write_manifest
from unreel.data.readers import Reading
from unreel.data.readers.spectrogram import SoundConfig
from unreel.data.readers.volumes import VolumeConfig
from unreel.data.report import DataReport, FileReport, by_reason
from unreel.data.report_plot import scan_plot
from unreel.data.sampling import SamplingConfig, choose, choose_by_view, windows
from unreel.data.scanning import scan
from unreel.data.sound_transforms import SoundAugmentConfig
from unreel.data.splits import SplitConfig, Splits, split
from unreel.data.targets import values_of_frames, values_of_steps
from unreel.data.texts import learn_vocabulary
from unreel.data.transforms import AugmentConfig, PreprocessConfig, augment, preprocess
from unreel.data.weights import class_weights, example_weights, positive_weights
from unreel.tokens import TextConfig, Vocabulary, tokenise

__all__ = [
    "IMAGE_SETS",
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
    "Reading",
    "SamplingConfig",
    "Segment",
    "SoundAugmentConfig",
    "SoundConfig",
    "SplitConfig",
    "Splits",
    "TextConfig",
    "Vocabulary",
    "VolumeConfig",
    "as_segments",
    "at_once",
    "augment",
    "by_reason",
    "choose",
    "choose_by_view",
    "class_weights",
    "content_hash",
    "download",
    "example_weights",
    "frame_times",
    "from_folders",
    "learn_vocabulary",
    "load",
    "positive_weights",
    "preprocess",
    "read_manifest",
    "scan",
    "scan_plot",
    "split",
    "tokenise",
    "values_of_frames",
    "values_of_steps",
    "windows",
    "write_manifest",
]

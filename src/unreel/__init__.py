"""Unreel: CNN-recurrent models over anything that comes frame by frame.

    import unreel

    config = unreel.RunConfig(data=unreel.DataConfig("videos/"))
    run = unreel.fit(config, "runs/first")
    print(unreel.evaluate(run))
    rows = list(unreel.predict(run, ["new.mp4"]))

Layers for networks of one's own are in `unreel.nn`, readers and datasets in `unreel.data`.
"""

from unreel import data as _data
from unreel.clip import Clip as Clip
from unreel.clip import ClipBatch as ClipBatch
from unreel.clip import collate as collate
from unreel.config import DataConfig as DataConfig
from unreel.config import RunConfig as RunConfig
from unreel.config import TrainingConfig as TrainingConfig
from unreel.config import load_config as load_config
from unreel.data import AugmentConfig as AugmentConfig
from unreel.data import ManifestConfig as ManifestConfig
from unreel.data import PreprocessConfig as PreprocessConfig
from unreel.data import SamplingConfig as SamplingConfig
from unreel.data import SoundConfig as SoundConfig
from unreel.data import SplitConfig as SplitConfig
from unreel.data import TextConfig as TextConfig
from unreel.data import VolumeConfig as VolumeConfig
from unreel.data import scan as scan
from unreel.errors import UnreelError as UnreelError
from unreel.experiment import fit as fit
from unreel.experiment import resume as resume
from unreel.inference import CaptionExplanation as CaptionExplanation
from unreel.inference import Explanation as Explanation
from unreel.inference import evaluate as evaluate
from unreel.inference import explain as explain
from unreel.inference import predict as predict
from unreel.inference import predict_texts as predict_texts
from unreel.models import CNNRNN as CNNRNN
from unreel.models import CRDNN as CRDNN
from unreel.models import Autoencoder as Autoencoder
from unreel.models import AutoencoderConfig as AutoencoderConfig
from unreel.models import Captioner as Captioner
from unreel.models import CaptionerConfig as CaptionerConfig
from unreel.models import CNNRNNConfig as CNNRNNConfig
from unreel.models import ConvLSTMTagger as ConvLSTMTagger
from unreel.models import ConvLSTMTaggerConfig as ConvLSTMTaggerConfig
from unreel.models import CRDNNConfig as CRDNNConfig
from unreel.models import EncoderConfig as EncoderConfig
from unreel.models import ImageRNN as ImageRNN
from unreel.models import ImageRNNConfig as ImageRNNConfig
from unreel.models import ScanRNN as ScanRNN
from unreel.models import ScanRNNConfig as ScanRNNConfig
from unreel.models import SequenceRNN as SequenceRNN
from unreel.models import SequenceRNNConfig as SequenceRNNConfig
from unreel.models import TextRNN as TextRNN
from unreel.models import TextRNNConfig as TextRNNConfig
from unreel.nn import SearchConfig as SearchConfig
from unreel.runs import Run as Run
from unreel.tasks import CaptionConfig as CaptionConfig
from unreel.tasks import OptimConfig as OptimConfig

load_data = _data.load

"""Models: an encoder looks at frames, a recurrence carries it through time, a readout answers. One model, one file."""

from unreel.models.autoencoder import Autoencoder, AutoencoderConfig, FrameCopy
from unreel.models.captioner import Captioner, CaptionerConfig
from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig
from unreel.models.conv_lstm_tagger import ConvLSTMTagger, ConvLSTMTaggerConfig
from unreel.models.crdnn import CRDNN, CRDNNConfig
from unreel.models.encoders import EncoderConfig
from unreel.models.image_rnn import ImageRNN, ImageRNNConfig
from unreel.models.scan_rnn import ScanRNN, ScanRNNConfig
from unreel.models.sequence_rnn import SequenceRNN, SequenceRNNConfig
from unreel.models.summary import summarize
from unreel.models.text_rnn import TextRNN, TextRNNConfig

Model = CNNRNN | ConvLSTMTagger | TextRNN | CRDNN | ImageRNN | ScanRNN | Autoencoder | SequenceRNN | Captioner
"""Any model in MODELS."""
ModelConfig = (
    CNNRNNConfig
    | ConvLSTMTaggerConfig
    | TextRNNConfig
    | CRDNNConfig
    | ImageRNNConfig
    | ScanRNNConfig
    | AutoencoderConfig
    | SequenceRNNConfig
    | CaptionerConfig
)
"""The configuration of any model in MODELS; its field `name` says of which."""
MODELS: dict[str, type[Model]] = {
    "cnn_rnn": CNNRNN,
    "conv_lstm_tagger": ConvLSTMTagger,
    "text_rnn": TextRNN,
    "crdnn": CRDNN,
    "image_rnn": ImageRNN,
    "scan_rnn": ScanRNN,
    "autoencoder": Autoencoder,
    "rnn": SequenceRNN,
    "captioner": Captioner,
}

__all__ = [
    "CNNRNN",
    "CRDNN",
    "MODELS",
    "Autoencoder",
    "AutoencoderConfig",
    "CNNRNNConfig",
    "CRDNNConfig",
    "Captioner",
    "CaptionerConfig",
    "ConvLSTMTagger",
    "ConvLSTMTaggerConfig",
    "EncoderConfig",
    "FrameCopy",
    "ImageRNN",
    "ImageRNNConfig",
    "Model",
    "ModelConfig",
    "ScanRNN",
    "ScanRNNConfig",
    "SequenceRNN",
    "SequenceRNNConfig",
    "TextRNN",
    "TextRNNConfig",
    "summarize",
]

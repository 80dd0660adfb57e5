"""Models: an encoder looks at frames, a recurrence carries it through time, a readout answers. One model, one file."""

from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig
from unreel.models.conv_lstm_tagger import ConvLSTMTagger, ConvLSTMTaggerConfig
from unreel.models.encoders import EncoderConfig
from unreel.models.scan_rnn import ScanRNN, ScanRNNConfig
from unreel.models.summary import summarize

Model = CNNRNN | ConvLSTMTagger | ScanRNN
"""Any model in MODELS."""
ModelConfig = CNNRNNConfig | ConvLSTMTaggerConfig | ScanRNNConfig
"""The configuration of any model in MODELS; its field `name` says of which."""
MODELS: dict[str, type[CNNRNN] | type[ConvLSTMTagger] | type[ScanRNN]] = {
    "cnn_rnn": CNNRNN,
    "conv_lstm_tagger": ConvLSTMTagger,
    "scan_rnn": ScanRNN,
}

__all__ = [
    "CNNRNN",
    "MODELS",
    "CNNRNNConfig",
    "ConvLSTMTagger",
    "ConvLSTMTaggerConfig",
    "EncoderConfig",
    "Model",
    "ModelConfig",
    "ScanRNN",
    "ScanRNNConfig",
    "summarize",
]

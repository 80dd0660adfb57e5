"""Models: an encoder looks at frames, a recurrence carries it through time, a readout answers. One model, one file."""

from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig
from unreel.models.conv_lstm_tagger import ConvLSTMTagger, ConvLSTMTaggerConfig
from unreel.models.crdnn import CRDNN, CRDNNConfig
from unreel.models.encoders import EncoderConfig
from unreel.models.summary import summarize

Model = CNNRNN | ConvLSTMTagger | CRDNN
"""Any model in MODELS."""
ModelConfig = CNNRNNConfig | ConvLSTMTaggerConfig | CRDNNConfig
"""The configuration of any model in MODELS; its field `name` says of which."""
MODELS: dict[str, type[CNNRNN] | type[ConvLSTMTagger] | type[CRDNN]] = {
    "cnn_rnn": CNNRNN,
    "conv_lstm_tagger": ConvLSTMTagger,
    "crdnn": CRDNN,
}

__all__ = [
    "CNNRNN",
    "CRDNN",
    "MODELS",
    "CNNRNNConfig",
    "CRDNNConfig",
    "ConvLSTMTagger",
    "ConvLSTMTaggerConfig",
    "EncoderConfig",
    "Model",
    "ModelConfig",
    "summarize",
]

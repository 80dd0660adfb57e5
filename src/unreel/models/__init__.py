"""Models: an encoder looks at frames, a recurrence carries it through time, a readout answers. One model, one file."""

from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig
from unreel.models.conv_lstm_tagger import ConvLSTMTagger, ConvLSTMTaggerConfig
from unreel.models.crdnn import CRDNN, CRDNNConfig
from unreel.models.encoders import EncoderConfig
from unreel.models.summary import summarize
from unreel.models.text_rnn import TextRNN, TextRNNConfig

Model = CNNRNN | ConvLSTMTagger | TextRNN | CRDNN
"""Any model in MODELS."""
ModelConfig = CNNRNNConfig | ConvLSTMTaggerConfig | TextRNNConfig | CRDNNConfig
"""The configuration of any model in MODELS; its field `name` says of which."""
MODELS: dict[str, type[CNNRNN] | type[ConvLSTMTagger] | type[TextRNN] | type[CRDNN]] = {
    "cnn_rnn": CNNRNN,
    "conv_lstm_tagger": ConvLSTMTagger,
    "text_rnn": TextRNN,
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
    "TextRNN",
    "TextRNNConfig",
    "summarize",
]

"""Models: an encoder looks at frames, a recurrence carries it through time, a readout answers. One model, one file."""

from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig
from unreel.models.conv_lstm_tagger import ConvLSTMTagger, ConvLSTMTaggerConfig
from unreel.models.encoders import EncoderConfig
from unreel.models.image_rnn import ImageRNN, ImageRNNConfig
from unreel.models.summary import summarize

Model = CNNRNN | ConvLSTMTagger | ImageRNN
"""Any model in MODELS."""
ModelConfig = CNNRNNConfig | ConvLSTMTaggerConfig | ImageRNNConfig
"""The configuration of any model in MODELS; its field `name` says of which."""
MODELS: dict[str, type[CNNRNN] | type[ConvLSTMTagger] | type[ImageRNN]] = {
    "cnn_rnn": CNNRNN,
    "conv_lstm_tagger": ConvLSTMTagger,
    "image_rnn": ImageRNN,
}

__all__ = [
    "CNNRNN",
    "MODELS",
    "CNNRNNConfig",
    "ConvLSTMTagger",
    "ConvLSTMTaggerConfig",
    "EncoderConfig",
    "ImageRNN",
    "ImageRNNConfig",
    "Model",
    "ModelConfig",
    "summarize",
]

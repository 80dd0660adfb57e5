"""Models: an encoder looks at frames, a recurrence carries it through time, a readout answers. One model, one file."""

from unreel.models.autoencoder import Autoencoder, AutoencoderConfig, FrameCopy
from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig
from unreel.models.conv_lstm_tagger import ConvLSTMTagger, ConvLSTMTaggerConfig
from unreel.models.encoders import EncoderConfig
from unreel.models.sequence_rnn import SequenceRNN, SequenceRNNConfig
from unreel.models.summary import summarize

Model = CNNRNN | ConvLSTMTagger | Autoencoder | SequenceRNN
"""Any model in MODELS."""
ModelConfig = CNNRNNConfig | ConvLSTMTaggerConfig | AutoencoderConfig | SequenceRNNConfig
"""The configuration of any model in MODELS; its field `name` says of which."""
MODELS: dict[str, type[CNNRNN] | type[ConvLSTMTagger] | type[Autoencoder] | type[SequenceRNN]] = {
    "cnn_rnn": CNNRNN,
    "conv_lstm_tagger": ConvLSTMTagger,
    "autoencoder": Autoencoder,
    "rnn": SequenceRNN,
}

__all__ = [
    "CNNRNN",
    "MODELS",
    "Autoencoder",
    "AutoencoderConfig",
    "CNNRNNConfig",
    "ConvLSTMTagger",
    "ConvLSTMTaggerConfig",
    "EncoderConfig",
    "FrameCopy",
    "Model",
    "ModelConfig",
    "SequenceRNN",
    "SequenceRNNConfig",
    "summarize",
]

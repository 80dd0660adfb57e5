"""Models: an encoder looks at frames, a recurrence carries it through time, a readout answers. One model, one file."""

from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig
from unreel.models.encoders import EncoderConfig
from unreel.models.summary import summarize

MODELS = {"cnn_rnn": CNNRNN}

__all__ = ["CNNRNN", "MODELS", "CNNRNNConfig", "EncoderConfig", "summarize"]

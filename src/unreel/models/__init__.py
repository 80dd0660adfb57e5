"""Models: an encoder looks at frames, a recurrence carries it through time, a readout answers. One model, one file."""

from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig
from unreel.models.encoders import EncoderConfig
from unreel.models.summary import summarize

MODELS = {"cnn_rnn": CNNRNN}
Model = CNNRNN
"""Any model in MODELS."""
ModelConfig = CNNRNNConfig
"""The configuration of any model in MODELS; its field `name` says of which."""

__all__ = ["CNNRNN", "MODELS", "CNNRNNConfig", "EncoderConfig", "Model", "ModelConfig", "summarize"]

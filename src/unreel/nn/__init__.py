"""Layers in the manner of torch.nn: tensors and lengths in, tensors and a state out. They see no clip and no file."""

from unreel.nn.additive_attention import AdditiveAttention
from unreel.nn.block_norm import BlockNorm
from unreel.nn.conv_recurrent import (
    ConvGRU1d,
    ConvGRU2d,
    ConvGRU3d,
    ConvLSTM1d,
    ConvLSTM2d,
    ConvLSTM3d,
    ConvRNN1d,
    ConvRNN2d,
    ConvRNN3d,
)
from unreel.nn.held_dropout import HeldDropout
from unreel.nn.motion import FrameDifference
from unreel.nn.normalize import Normalize
from unreel.nn.pooling import PoolKind, TimePool
from unreel.nn.recurrent import GRU, LSTM, RNN
from unreel.nn.rows import Written
from unreel.nn.search import SearchConfig, search
from unreel.nn.sites import Site, Sites, Watch
from unreel.nn.through_time import recompute, stream
from unreel.nn.time_conv import TimeConv1d, TimeConv2d, TimeMaxPool
from unreel.nn.time_distributed import TimeDistributed, TimeSequential
from unreel.nn.views import SeesViews, ViewEmbedding
from unreel.nn.words import BEGIN, Memory, SeesWords, WordState

__all__ = [
    "BEGIN",
    "GRU",
    "LSTM",
    "RNN",
    "AdditiveAttention",
    "BlockNorm",
    "ConvGRU1d",
    "ConvGRU2d",
    "ConvGRU3d",
    "ConvLSTM1d",
    "ConvLSTM2d",
    "ConvLSTM3d",
    "ConvRNN1d",
    "ConvRNN2d",
    "ConvRNN3d",
    "FrameDifference",
    "HeldDropout",
    "Memory",
    "Normalize",
    "PoolKind",
    "SearchConfig",
    "SeesViews",
    "SeesWords",
    "Site",
    "Sites",
    "TimeConv1d",
    "TimeConv2d",
    "TimeDistributed",
    "TimeMaxPool",
    "TimePool",
    "TimeSequential",
    "ViewEmbedding",
    "Watch",
    "WordState",
    "Written",
    "recompute",
    "search",
    "stream",
]

"""ScanRNN: a CNN looks at every slice, a view embedding says of which plane it is, a recurrence runs over all of them.

The three-plane classifier of the scan tutorials, whose T = 3 is one slice of each plane, and of MRNet (Bien et al.
2018), whose three separate CNNs are `encoders="separate"`. What follows the CNNs is a `CNNRNN` over their features.
What this file is not: it knows no plane by name, no loss and no file.

Shape letters: N clips, T slices of all planes, V views, C channels, H W pixels, D features, K outputs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.cnn_rnn import CNNRNN, CNNRNNConfig, Recurrence
from unreel.models.encoders import Encoder, EncoderConfig, build_encoder, pretrained_statistics
from unreel.models.readout import Readout
from unreel.nn import Normalize, PoolKind, SeesViews, Site, Sites, TimeDistributed, ViewEmbedding
from unreel.ops import valid

Encoders = Literal["shared", "separate"]


@dataclass(frozen=True)
class ScanRNNConfig:
    """How a ScanRNN is made.

    Args:
        name: the key in `MODELS`.
        encoder: what looks at each slice.
        encoders: "shared", one for all planes; or "separate", one of this kind for each.
        views: V, how many planes there can be.
        recurrence: "lstm", "gru", "rnn"; or "none", the control: each slice judged by itself. The fields down to
            `dropout` must then keep their defaults, and pool must be "mean".
        hidden_size: features of the recurrence, in each direction.
        num_layers: layers of the recurrence.
        bidirectional: also run from the last slice to the first.
        dropout: between the layers of the recurrence and before the head.
        pool: how the slices become one answer, see `CNNRNNConfig`.
        micro_batch: slices that go through an encoder at a time; None for all.
        recompute: let the backward pass compute the encoders' activations again instead of keeping them.

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: Literal["scan_rnn"] = "scan_rnn"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    encoders: Encoders = "shared"
    views: int = 3
    recurrence: Recurrence = "gru"
    hidden_size: int = 128
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    pool: PoolKind = "last"
    micro_batch: int | None = None
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.encoders not in get_args(Encoders):
            raise ConfigError(f"encoders must be one of {', '.join(get_args(Encoders))}, got {self.encoders!r}")
        if self.views < 1:
            raise ConfigError(f"views must be at least 1, got {self.views}")
        self.over_features()

    @property
    def causal(self) -> bool:
        """Whether what is said of a slice does not depend on slices after it."""
        return not self.bidirectional

    @property
    def whole_blocks(self) -> int:
        """Slices that a chunk must hold a multiple of, to give what the whole scan gives in training."""
        return 1

    def over_features(self) -> CNNRNNConfig:
        """The part behind the encoders: the same recurrence over vectors."""
        return CNNRNNConfig(
            encoder=EncoderConfig("identity"),
            recurrence=self.recurrence,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            pool=self.pool,
        )

    def without_pretrained(self) -> ScanRNNConfig:
        """The same model for weights that are loaded anyway: nothing is downloaded for it."""
        return dataclasses.replace(self, encoder=dataclasses.replace(self.encoder, pretrained=False, weights=None))

    def control(self) -> ScanRNNConfig:
        """The same encoders and views without recurrence: each slice judged by itself, the judgements averaged."""
        return ScanRNNConfig(
            encoder=self.encoder,
            encoders=self.encoders,
            views=self.views,
            recurrence="none",
            pool="mean",
            micro_batch=self.micro_batch,
            recompute=self.recompute,
        )


class ScanRNN(SeesViews):
    """Encoders, view embedding, recurrence, readout.

    Args:
        config: its parts.
        frame_shape: (C, H, W) of a slice; (D,) with the encoder "identity".
        num_outputs: K.
        readout: "clip" for one answer a scan, "frame" for one each slice.
    """

    Config = ScanRNNConfig

    def __init__(
        self, config: ScanRNNConfig, frame_shape: tuple[int, ...], num_outputs: int, readout: Readout = "clip"
    ) -> None:
        super().__init__()
        self.config = config
        self.frame_shape = tuple(frame_shape)
        self.num_outputs = num_outputs
        self.readout: Readout = readout
        self.views = config.views
        channels = self.frame_shape[0]
        self.normalize = Normalize(
            *(pretrained_statistics(config.encoder, channels) or ([0.0] * channels, [1.0] * channels))
        )
        count = config.views if config.encoders == "separate" else 1
        encoders = [build_encoder(config.encoder, self.frame_shape) for _ in range(count)]
        self.features = encoders[0].features
        self.encoders = nn.ModuleList(
            TimeDistributed(encoder, config.micro_batch, config.recompute) for encoder in encoders
        )
        self.embedding = ViewEmbedding(config.views, self.features)
        self.over_features = CNNRNN(config.over_features(), (self.features,), num_outputs, readout)

    @property
    def measures_statistics(self) -> bool:
        """Whether `normalize` should be set from the training data, and not from pretrained weights."""
        return not self.config.encoder.has_pretrained_weights

    def sites(self) -> Sites:
        """The last map of each slice, of the encoder of its view; and the pooling over slices."""
        maps = [cast(Encoder, cast(TimeDistributed, part).module).last_map for part in self.encoders]
        several = len(maps) > 1
        return Sites(
            tuple(Site(part, view=view if several else None) for view, part in enumerate(maps)), self.over_features.pool
        )

    def forward(
        self, frames: Tensor, lengths: Tensor | None = None, state: Any = None, views: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Answer for whole scans, or go on with the next slices of each.

        Args:
            frames: (N, T, *frame), uint8 or float.
            lengths: (N,) int64, valid slices of each scan; None where all are.
            state: what an earlier call returned; None at the start of the scans.
            views: (N, T) int64, each 0..V-1; None where all slices are of view 0.

        Returns:
            outputs (N, K) over every slice so far, or (N, T, K) with zeros in the padding; and the state.

        Raises:
            ValueError: frames or views are of another shape.
        """
        if frames.ndim < 3 or tuple(frames.shape[2:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, T, {self.frame_shape}), got {tuple(frames.shape)}")
        if views is None:
            views = torch.zeros(frames.shape[:2], dtype=torch.int64, device=frames.device)
        if views.shape != frames.shape[:2]:
            raise ValueError(f"views must be {tuple(frames.shape[:2])} as the frames, got {tuple(views.shape)}")
        lengths = valid.ragged(lengths, frames.shape[1])
        if lengths is not None:
            views = valid.zero_padding(views, lengths)  # whatever stands there is a view
        x = self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        features = self.embedding(self._encode(x, lengths, views), views)
        return self.over_features.decode(features, lengths, state)

    def step(self, frame: Tensor, state: Any = None, view: Tensor | None = None) -> tuple[Tensor, Any]:
        """The next slice of each scan.

        Args:
            frame: (N, *frame).
            state: what an earlier call returned.
            view: (N,) int64; None for view 0.

        Returns:
            outputs (N, K) so far and the state after it.

        Raises:
            ConfigError: the model is bidirectional.
        """
        if self.config.bidirectional:
            raise ConfigError(
                "a bidirectional model cannot run as a stream: what it says depends on slices yet to come. Run it on "
                "whole scans, or train one with bidirectional=False"
            )
        outputs, after = self(frame.unsqueeze(1), None, state, None if view is None else view.unsqueeze(1))
        return (outputs if self.readout == "clip" else outputs[:, 0]), after

    def _encode(self, x: Tensor, lengths: Tensor | None, views: Tensor) -> Tensor:
        """Features (N, T, D) of slices, each by the encoder of its view."""
        if len(self.encoders) == 1:
            return self.encoders[0](x, lengths)
        if torch.compiler.is_exporting() and not self.training:
            return self._encode_by_all(x, lengths, views)
        slices, of_view = valid.pack(x, lengths), valid.pack(views, lengths)
        places, features = [], []
        for view, encoder in enumerate(self.encoders):
            place = (of_view == view).nonzero().flatten()
            if len(place):
                places.append(place)
                features.append(encoder(slices[place].unsqueeze(0))[0])
        # back in the order in which they were
        return valid.unpack(torch.cat(features)[torch.cat(places).argsort()], lengths, x.shape[1])

    def _encode_by_all(self, x: Tensor, lengths: Tensor | None, views: Tensor) -> Tensor:
        """The same with every slice shown to every encoder: how many are of a view, an exported program cannot know."""
        found = [encoder(x, lengths) for encoder in self.encoders]
        features = found[0]
        for view in range(1, len(found)):
            features = torch.where((views == view).unsqueeze(-1), found[view], features)
        return features

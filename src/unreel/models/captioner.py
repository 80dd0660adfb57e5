"""Captioner: an encoder looks at a picture or at the frames of a clip, a recurrence writes a sentence about it.

Three models are this one with another form:

    show_and_tell      the picture is the first input of the decoder    Vinyals et al. (2015), arXiv:1411.4555
    attention          a look at places and frames before each word     Xu et al. (2015), arXiv:1502.03044
    encoder_decoder    frames through a recurrence, whose last state    Sutskever et al. (2014), arXiv:1409.3215, over
                       the decoder begins with                          frames as Venugopalan et al. (2015)

What this file is not: it knows no word, only indices of which 0 is begin and end, no loss and no file, and it does not
search for the best sentence: it says what may come next.

Shape letters: N clips, T frames, P places of a frame, A = T·P, D features, R B rows (captions) of each clip, L words of
a row, M of all words, V outputs: the words and the end; H features of the recurrence, Y its layers, K features that
attention compares.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from unreel.errors import ConfigError
from unreel.models.caption_decoder import RECURRENCES, AttentiveDecoder, PlainDecoder
from unreel.models.encoder_maps import MapEncoder, build_map_encoder
from unreel.models.encoders import Encoder, EncoderConfig, build_encoder, pretrained_statistics
from unreel.models.picture import Picture
from unreel.models.readout import Readout
from unreel.nn import BEGIN, Memory, Normalize, SeesWords, Site, Sites, TimeDistributed, WordState
from unreel.nn.positions import POSITION_SIZE, positions
from unreel.nn.words import hide
from unreel.ops import valid

Form = Literal["show_and_tell", "attention", "encoder_decoder"]


@dataclass(frozen=True)
class CaptionerConfig:
    """How a Captioner is made.

    Args:
        name: the key in `MODELS`.
        encoder: what looks at each frame. The form "attention" takes its last map, see `build_map_encoder`, and nothing
            of what comes behind, such as head, features and dropout of "small"; of "identity" each frame is one place.
        form: how the decoder learns of the clip, see above. "show_and_tell" takes the mean of a clip's frames, and so
            knows no order of them.
        recurrence: "lstm" or "gru", of the decoder, and of the encoder where there is one over frames.
        embedding_size: numbers of which each word's vector is made.
        hidden_size: features of the recurrence.
        num_layers: layers of the recurrence.
        dropout: of what goes into the decoder and of what comes out, and between layers; see `caption_decoder`.
        word_dropout: probability that a word the decoder reads is taken for an unknown one, in training (Bowman et al.
            2016, arXiv:1511.06349): what follows from the words before is then told less by them, and more by the clip.
        attention_size: attention: features in which places and state are compared.
        grid_size: attention: places along a side of a frame, at most; of a finer map blocks are averaged. 7 is what a
            ResNet makes of 224 pixels; Xu et al. look at 14, which costs four times as much.
        positions: attention: tell of each place when its frame is and where in it the place lies, see `nn.positions`,
            beside its features. Xu et al. have a single picture and no positions; without them a clip is a set of
            places, and nothing knows the order of its frames.
        micro_batch: frames that go through the encoder at a time; None for all.
        recompute: let the backward pass compute the encoder's activations again instead of keeping them.

    Raises:
        ConfigError: a field is out of range or does not apply.
    """

    name: Literal["captioner"] = "captioner"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    form: Form = "show_and_tell"
    recurrence: Literal["lstm", "gru"] = "lstm"
    embedding_size: int = 256
    hidden_size: int = 256
    num_layers: int = 1
    dropout: float = 0.3
    word_dropout: float = 0.0
    attention_size: int = 256
    grid_size: int = 7
    positions: bool = False
    micro_batch: int | None = None
    recompute: bool = False

    def __post_init__(self) -> None:
        for name, kinds in (("form", get_args(Form)), ("recurrence", ("lstm", "gru"))):
            if getattr(self, name) not in kinds:
                raise ConfigError(f"{name} must be one of {', '.join(kinds)}, got {getattr(self, name)!r}")
        for name in ("embedding_size", "hidden_size", "num_layers", "attention_size", "grid_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ConfigError(f"micro_batch must be at least 1 frame, or None, got {self.micro_batch}")
        for name in ("attention_size", "grid_size", "positions"):
            if self.form != "attention" and getattr(self, name) != getattr(CaptionerConfig, name):
                raise ConfigError(f"{name} does not apply to the form {self.form!r}; leave it out")

    @property
    def causal(self) -> bool:
        """Never: a sentence is about a whole clip."""
        return False

    @property
    def whole_blocks(self) -> int:
        """Frames that a chunk of a film must hold a multiple of, to give what the whole film gives in training."""
        return 1

    def without_pretrained(self) -> CaptionerConfig:
        """The same model for weights that are loaded anyway: nothing is downloaded for it."""
        return dataclasses.replace(self, encoder=dataclasses.replace(self.encoder, pretrained=False, weights=None))

    def control(self) -> CaptionerConfig:
        """The same without the order of frames: their mean, or attention without positions.

        A model that knows no order is its own control.
        """
        form = "show_and_tell" if self.form == "encoder_decoder" else self.form
        return dataclasses.replace(self, form=form, positions=False)


class Captioner(SeesWords):
    """Encoder, and a decoder of words.

    Args:
        config: its parts.
        frame_shape: (C, H, W) of a frame; (D,) with the encoder "identity".
        num_outputs: V, at least 2.
        readout: "clip".

    Attributes:
        feature_shape: what `encode` gives of a frame: (D,), or (P, D) of the form "attention".
    """

    Config = CaptionerConfig

    def __init__(
        self, config: CaptionerConfig, frame_shape: tuple[int, ...], num_outputs: int, readout: Readout = "clip"
    ) -> None:
        super().__init__()
        if readout != "clip":
            raise ConfigError(f"a captioner writes about whole clips: readout must be 'clip', got {readout!r}")
        if num_outputs < 2:
            raise ConfigError(f"num_outputs must be at least 2, the end and a word, got {num_outputs}")
        self.config = config
        self.frame_shape = tuple(frame_shape)
        self.num_outputs = num_outputs
        self.readout: Readout = readout

        channels = self.frame_shape[0]
        self.normalize = Normalize(
            *(pretrained_statistics(config.encoder, channels) or ([0.0] * channels, [1.0] * channels))
        )
        sizes = (num_outputs, config.embedding_size, config.hidden_size, config.num_layers)
        if config.form == "attention":
            encoder = build_map_encoder(config.encoder, self.frame_shape, config.grid_size)
        else:
            encoder = build_encoder(config.encoder, self.frame_shape)
        self.encoder = TimeDistributed(encoder, config.micro_batch, config.recompute)
        self.feature_shape: tuple[int, ...] = (encoder.features,)
        self.picture: Picture | None = None
        self.reader: nn.Module | None = None
        if isinstance(encoder, MapEncoder):
            self.grid = encoder.grid
            self.feature_shape = (self.grid[0] * self.grid[1], encoder.features)
            memory_size = encoder.features + POSITION_SIZE * config.positions
            self.decoder: PlainDecoder | AttentiveDecoder = AttentiveDecoder(
                *sizes, config.recurrence, config.dropout, memory_size, config.attention_size
            )
            return
        self.picture = Picture(encoder.features, config.embedding_size)
        if config.form == "encoder_decoder":
            self.reader = RECURRENCES[config.recurrence](
                config.embedding_size, config.hidden_size, config.num_layers, dropout=config.dropout
            )
        self.decoder = PlainDecoder(*sizes, config.recurrence, config.dropout)

    @property
    def measures_statistics(self) -> bool:
        """Whether `normalize` should be set from the training data, and not from pretrained weights."""
        return not self.config.encoder.has_pretrained_weights

    @property
    def has_frozen_encoder(self) -> bool:
        """Whether `encode` gives a frame the same features in every epoch, so that they are worth keeping."""
        return self.config.encoder.frozen and self.config.encoder.unfreeze_from is None

    @property
    def feature_kind(self) -> str:
        """What features depend on besides the encoder's weights."""
        return "map" if self.grid is not None else "frames"

    def sites(self) -> Sites:
        """The encoder's last map of each frame."""
        return Sites((Site(cast(Encoder, self.encoder.module).last_map),))

    def forward(
        self,
        frames: Tensor,
        lengths: Tensor | None = None,
        state: WordState | None = None,
        words: Tensor | None = None,
    ) -> tuple[Tensor, WordState]:
        """What may come after each word.

        Args:
            frames: (N, T, *frame), uint8 or float.
            lengths: (N,) int64, valid frames of each clip; None where all are.
            state: behind the words before these; None at the begin.
            words: (N, R, L) int64, R captions of each clip: the begin, and each word before the one that is asked for;
                anything behind the end. None for the begin alone, (N, 1, 1).

        Returns:
            logits (N, R, L, V), and the state behind the words.
        """
        return self.decode(self.encode(frames, lengths), lengths, state, words)

    def step(self, frame: Tensor, state: WordState | None = None) -> tuple[Tensor, WordState]:
        """There is none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "a captioner cannot run as a stream of frames: it writes about the whole clip. Run it on whole clips"
        )

    def encode(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features (N, T, D), or (N, T, P, D) of the form "attention", of whole clips; zeros in the padding."""
        if frames.ndim < 3 or tuple(frames.shape[2:]) != self.frame_shape:
            raise ValueError(f"frames must be (N, T, {self.frame_shape}), got {tuple(frames.shape)}")
        lengths = valid.ragged(lengths, frames.shape[1])
        x = self.normalize(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return self.encoder(x, lengths)

    def decode(
        self,
        features: Tensor,
        lengths: Tensor | None = None,
        state: WordState | None = None,
        words: Tensor | None = None,
    ) -> tuple[Tensor, WordState]:
        """The half of `forward` after the encoder: what `encode` gave to logits (N, R, L, V) and the state."""
        if words is None:
            words = torch.full((features.shape[0], 1, 1), BEGIN, dtype=torch.int64, device=features.device)
        logits, after, _ = self.write(words, self.read(features, lengths), state)
        return logits, after

    def read(self, features: Tensor, lengths: Tensor | None = None) -> Memory:
        """All that writing needs of the clips.

        Args:
            features: (N, T, D), or (N, T, P, D), as `encode` gives them.
            lengths: (N,) int64; None where all frames are valid.

        Returns:
            The state before the first word, (N, Y, H) each; before it, of the form "attention", the places (N, A, D),
            told positions behind the D, their keys (N, A, K), and which of them are there (N, A) bool.
        """
        if tuple(features.shape[2:]) != self.feature_shape:
            raise ValueError(f"features must be (N, T, {self.feature_shape}), got {tuple(features.shape)}")
        lengths = valid.ragged(lengths, features.shape[1])
        if isinstance(self.decoder, AttentiveDecoder):
            return self._read_places(self.decoder, features, valid.full(features) if lengths is None else lengths)
        picture = cast(Picture, self.picture)
        if self.reader is not None:
            frames = valid.unpack(picture(valid.pack(features, lengths)), lengths, features.shape[1])
            return self.reader(self.decoder.dropout(frames), lengths)[1]
        mean = features.mean(1) if lengths is None else valid.mean(features, lengths)
        return self.decoder.first(picture(mean))

    def _read_places(self, decoder: AttentiveDecoder, features: Tensor, lengths: Tensor) -> Memory:
        if self.config.positions and self.grid is not None:
            told = positions(lengths, features.shape[1], self.grid).to(features.dtype)
            features = torch.cat([features, told], 3)
        seen = valid.mask(lengths, features.shape[1]).unsqueeze(2).expand(-1, -1, features.shape[2]).flatten(1)
        memory = valid.zero_padding(features, lengths).flatten(1, 2)
        begin = decoder.first(valid.mean(features.mean(2), lengths))
        return (memory, decoder.attention.keys(memory), seen, *begin)

    def start(self, memory: Memory, rows: int) -> WordState:
        """The state before the first word of `rows` captions of each clip: tensors (N, rows, Y, H)."""
        begin = memory[-self.decoder.recurrence.cell.states :]
        return (tuple(member.unsqueeze(1).expand(-1, rows, -1, -1) for member in begin),)

    def next(self, words: Tensor, memory: Memory, state: WordState) -> tuple[Tensor, WordState, Tensor | None]:
        """One word on.

        Args:
            words: (N, B) int64.
            memory: of the clips.
            state: behind the words before these, as `start` or an earlier call gave it.

        Returns:
            logits (N, B, V) of the word that follows; the state; and the weights (N, B, A) of the places that were
            looked at, 1 over those that are there, or None without attention.
        """
        logits, after, attention = self.write(words.unsqueeze(2), memory, state)
        return logits[:, :, 0], after, None if attention is None else attention[:, :, 0]

    def write(
        self, words: Tensor, memory: Memory, state: WordState | None = None
    ) -> tuple[Tensor, WordState, Tensor | None]:
        """Many words on, all of them known: what `next` gives word by word.

        Args:
            words: (N, R, L) int64, see `forward`.
            memory: of the clips.
            state: behind the words before these; None at the begin.

        Returns:
            logits (N, R, L, V), the state, and the weights (N, R, L, A) or None.
        """
        words = self._known(words, memory)
        (before,) = self.start(memory, words.shape[1]) if state is None else state
        if isinstance(self.decoder, AttentiveDecoder):
            places, keys, seen = memory[:3]
            logits, after, attention = self.decoder(words, before, places, keys, seen)
            return logits, (after,), attention
        logits, after = self.decoder(words, before)
        return logits, (after,), None

    def teach(self, words: Tensor, memory: Memory, asked: Tensor) -> Tensor:
        """What `write` gives from the begin on, of some words alone: most of the work is in logits, and in training
        many words are padding, behind which nothing is read.

        Args:
            words: (N, R, L) int64, see `forward`.
            memory: of the clips.
            asked: (N, R, L) bool, the M words behind which logits are wanted.

        Returns:
            logits (M, V), row after row.
        """
        words = self._known(words, memory)
        (before,) = self.start(memory, words.shape[1])
        if isinstance(self.decoder, AttentiveDecoder):
            places, keys, seen = memory[:3]
            return self.decoder.teach(words, before, places, keys, seen, asked)
        return self.decoder.teach(words, before, asked)

    def _known(self, words: Tensor, memory: Memory) -> Tensor:
        """The words, some of them hidden in training."""
        if words.ndim != 3 or words.dtype != torch.int64 or words.shape[0] != memory[0].shape[0]:
            raise ValueError(
                f"words must be (N, R, L) int64 of {memory[0].shape[0]} clips, got {tuple(words.shape)} {words.dtype}"
            )
        return hide(words, self.config.word_dropout) if self.training and self.config.word_dropout else words

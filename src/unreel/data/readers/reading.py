"""Reading: what readers must know besides the file, as one value that goes from the run to whoever opens a source.

What this file is not: what each setting does is told where it is defined, beside the reader that it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from unreel.data.readers.spectrogram import SoundConfig
from unreel.data.readers.volumes import VolumeConfig
from unreel.tokens import TextConfig, Vocabulary


@dataclass(frozen=True)
class Reading:
    """What a reader must know besides the file, each kind of file its own.

    Args:
        text: how texts are read.
        vocabulary: the tokens that a model knows; with the empty one every token is unknown.
        sound: how sound becomes frames.
        volume: how a scan becomes slices.
    """

    text: TextConfig = field(default_factory=TextConfig)
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    sound: SoundConfig = field(default_factory=SoundConfig)
    volume: VolumeConfig = field(default_factory=VolumeConfig)

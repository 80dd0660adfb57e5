"""Fights as what is unusual: a table of surveillance clips for an autoencoder that learns from calm ones alone.

    python benchmarks/unusual_fights.py DATA/fights/sources.csv OUT.csv [--seed 0]

OUT.csv has the clips by their absolute paths, labelled `normal` or `fight`, each on a side of the split. No source
stands on two sides. Fights of the training and validation sides are left out: nothing is learned from them, and
nothing is chosen by them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from unreel.data import Manifest, ManifestConfig, SplitConfig, read_manifest, split, write_manifest

SHARES = SplitConfig(val=0.15, test=0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    options = parser.parse_args()
    clips = read_manifest(options.sources, ManifestConfig(group_column="source"))
    sides = split(clips, replace(SHARES, seed=options.seed))
    chosen = []
    for side in ("train", "val", "test"):
        for example in getattr(sides, side):
            calm = example.labels == ("no_fight",)
            if calm or side == "test":
                path = (clips.root / example.path).resolve().as_posix()
                chosen.append(replace(example, path=path, labels=("normal" if calm else "fight",), split=side))
    write_manifest(Manifest(options.out.parent, tuple(chosen)), options.out)


if __name__ == "__main__":
    main()

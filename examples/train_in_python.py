"""From clips to numbers, predictions and a report in Python.

    python examples/train_in_python.py FOLDER

makes moving digits in FOLDER/clips and trains in FOLDER/run. Put a folder of your own in place of the clips.
"""

import sys
from pathlib import Path

import unreel
from unreel.demo_data import make_moving_digits


def main(folder: Path, clips: int = 120, epochs: int = 2) -> unreel.Run:
    make_moving_digits(folder / "clips", clips=clips)
    config = unreel.RunConfig(
        data=unreel.DataConfig(str(folder / "clips"), preprocess=unreel.PreprocessConfig((32, 32), channels="grey")),
        model=unreel.CNNRNNConfig(
            encoder=unreel.EncoderConfig(channels=(8, 16), norm="none", features=None), recurrence="gru"
        ),
        training=unreel.TrainingConfig(epochs=epochs),
    )
    run = unreel.fit(config, folder / "run")
    print(unreel.evaluate(run))
    for row in unreel.predict(run, [folder / "clips" / "left"]):
        print(row["file"], row["label"], round(row["score"], 3))
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))

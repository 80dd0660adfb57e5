"""A captioner in Python: pictures with sentences in a table, training, and what is written of pictures never seen.

    python examples/captions_of_shapes.py FOLDER

draws coloured shapes in FOLDER/pictures and trains in FOLDER/run. Put a table of your own, with the columns path and
caption, in place of these.
"""

import csv
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

import unreel

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220)}


def draw_pictures(folder: Path, count: int) -> None:
    """A disc or a square of a colour, each in two sentences of its own."""
    draws = random.Random(0)
    folder.mkdir(parents=True)
    rows = []
    for number in range(count):
        colour, shape = draws.choice(list(COLOURS)), draws.choice(["disc", "square"])
        picture = Image.new("RGB", (32, 32), (255, 255, 255))
        left, top, side = draws.randint(1, 13), draws.randint(1, 13), draws.randint(12, 17)
        pen = ImageDraw.Draw(picture)
        (pen.ellipse if shape == "disc" else pen.rectangle)((left, top, left + side, top + side), COLOURS[colour])
        picture.save(folder / f"{number:03}.png")
        rows += [(f"{number:03}.png", f"A {colour} {shape}."), (f"{number:03}.png", f"The {shape} is {colour}.")]
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "caption"), *rows])


def main(folder: Path, pictures: int = 400, epochs: int = 12) -> unreel.Run:
    draw_pictures(folder / "pictures", pictures)
    config = unreel.RunConfig(
        task="caption",
        data=unreel.DataConfig(
            str(folder / "pictures" / "captions.csv"), preprocess=unreel.PreprocessConfig((32, 32)), batch_size=8
        ),
        model=unreel.CaptionerConfig(
            encoder=unreel.EncoderConfig(channels=(16, 32, 64), features=64),
            embedding_size=32,
            hidden_size=64,
            dropout=0.0,
        ),
        optim=unreel.OptimConfig(lr=0.005, warmup=0.2),
        caption=unreel.CaptionConfig(search=unreel.SearchConfig(beam=3, n_best=2)),
        training=unreel.TrainingConfig(epochs=epochs),
    )
    run = unreel.fit(config, folder / "run")
    evaluation = unreel.evaluate(run)
    print(evaluation)
    for row in evaluation.rows[:5]:
        print(row["file"], *(f"{each['caption']} ({each['score']:.2f})" for each in row["captions"]), sep="  ")
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))

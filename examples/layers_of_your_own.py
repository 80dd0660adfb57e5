"""The layers by themselves: a CNN-LSTM written by hand, whole and layer by layer, with clips of unequal length.

python examples/layers_of_your_own.py
"""

import torch
from torch import nn

from unreel.nn import LSTM, TimeDistributed, TimePool, TimeSequential


def main() -> None:
    torch.manual_seed(0)
    frames = torch.randn(2, 7, 3, 32, 32)  # N T C H W
    lengths = torch.tensor([7, 4])  # the second clip ends after 4 frames; the rest is padding

    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    whole = TimeDistributed(nn.Sequential(*layers))
    each = TimeSequential(*(TimeDistributed(layer) for layer in layers))
    assert torch.equal(whole(frames, lengths), each(frames, lengths))
    assert whole.state_dict().keys() == each.state_dict().keys()

    lstm, pool, head = LSTM(8 * 15 * 15, 64), TimePool("last", 64), nn.Linear(64, 5)
    out, _ = lstm(whole(frames, lengths), lengths)
    clip, _ = pool(out, lengths)
    scores = head(clip)  # N K

    # the same clip alone, and frame by frame as a stream, says the same
    alone, _ = lstm(whole(frames[1:, :4]))
    torch.testing.assert_close(head(alone[:, -1]), scores[1:])
    state = None
    for time in range(4):
        out, state = lstm.step(whole(frames[1:, time : time + 1])[:, 0], state)
    torch.testing.assert_close(head(out), scores[1:])
    print("scores", tuple(scores.shape), "- alone, padded and streamed agree")


if __name__ == "__main__":
    main()

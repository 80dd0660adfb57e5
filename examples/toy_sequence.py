"""The first recurrent network of the tutorials: six frames in, six numbers out, and six parameters.

    python examples/toy_sequence.py

x = (1, 1), (0, 0) five times; y = 1, .8, .6, 0, 0, 0; SimpleRNN(1) and a Dense(1) on each step. No choice of its
parameters is nearer to y than a mean squared error of 0.000822; docs/guides/sequences.md tells why.
"""

import torch

from unreel.models import SequenceRNN, SequenceRNNConfig

LIMIT = 0.000822


def learn(seed: int) -> tuple[float, torch.Tensor]:
    """Mean squared error, and the six numbers, after one start."""
    torch.manual_seed(seed)
    x = torch.tensor([[[1.0, 1.0]] + [[0.0, 0.0]] * 5])  # N T D
    y = torch.tensor([[[1.0], [0.8], [0.6], [0.0], [0.0], [0.0]]])  # N T K
    model = SequenceRNN(SequenceRNNConfig(recurrence="rnn", hidden_size=1), (2,), 1, readout="frame")
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = (model(x)[0] - y).square().mean()
        error.backward()
        return error

    optimizer.step(loss)  # type: ignore[arg-type] (torch's annotation asks for a float)
    with torch.no_grad():
        said = model(x)[0]
    return float((said - y).square().mean()), said.flatten()


def main(starts: int = 4) -> None:
    error, said = min((learn(seed) for seed in range(starts)), key=lambda found: found[0])
    print("y    ", " ".join(f"{number:5.2f}" for number in (1, 0.8, 0.6, 0, 0, 0)))
    print("model", " ".join(f"{number:5.2f}" for number in said.tolist()))
    print(f"mean squared error {error:.6f}, the limit is {LIMIT:.6f}")
    assert LIMIT * 0.999 < error < LIMIT * 1.05, "another start finds it"


if __name__ == "__main__":
    main()

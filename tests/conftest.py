"""What holds for every test."""

import torch

# Tests are small: threads only get in each other's way, the more so when pytest runs several processes.
torch.set_num_threads(1)

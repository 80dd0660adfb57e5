"""Training of a run with Lightning: fit, callbacks, checkpoints, features of frozen encoders."""

from unreel.training.fitting import Best as Best
from unreel.training.fitting import fit as fit
from unreel.training.stopping import StoppedError as StoppedError

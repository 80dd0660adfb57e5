"""Models and weights that Keras 3 saved, read without Keras: `.keras` and `.weights.h5` files."""

from unreel.interop.keras.files import KerasFile, Saved, read_keras
from unreel.interop.keras.models import KerasModel, load_keras
from unreel.interop.keras.weights import copy_weights

__all__ = ["KerasFile", "KerasModel", "Saved", "copy_weights", "load_keras", "read_keras"]

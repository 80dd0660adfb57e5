"""A trained run at work: evaluate on what is known, predict what is not."""

from unreel.inference.evaluate import Evaluation as Evaluation
from unreel.inference.evaluate import evaluate as evaluate
from unreel.inference.predict import predict as predict
from unreel.inference.predict import predict_texts as predict_texts

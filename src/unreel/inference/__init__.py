"""A trained run at work: evaluate on what is known, predict what is not, explain what is said."""

from unreel.inference.evaluate import Evaluation as Evaluation
from unreel.inference.evaluate import evaluate as evaluate
from unreel.inference.explain import Explanation as Explanation
from unreel.inference.explain import explain as explain
from unreel.inference.explain import explain_examples as explain_examples
from unreel.inference.explain_words import CaptionExplanation as CaptionExplanation
from unreel.inference.heat import Method as Method
from unreel.inference.predict import predict as predict
from unreel.inference.predict import predict_texts as predict_texts

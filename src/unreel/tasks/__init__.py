"""What an output means: one LightningModule a task. TASKS is the only index."""

from unreel.tasks.base import Task as Task
from unreel.tasks.caption import Caption as Caption
from unreel.tasks.captioning.settings import CaptionConfig as CaptionConfig
from unreel.tasks.classify import Classify as Classify
from unreel.tasks.classify import MultiLabel as MultiLabel
from unreel.tasks.multitag import MultiTag as MultiTag
from unreel.tasks.optim import OptimConfig as OptimConfig
from unreel.tasks.reconstruct import Reconstruct as Reconstruct
from unreel.tasks.regress import Regress as Regress
from unreel.tasks.tag import Tag as Tag
from unreel.tasks.trace import Series as Series
from unreel.tasks.trace import Trace as Trace

TASKS: dict[str, type[Task]] = {
    "classify": Classify,
    "multilabel": MultiLabel,
    "tag": Tag,
    "multitag": MultiTag,
    "regress": Regress,
    "trace": Trace,
    "sequence": Series,
    "reconstruct": Reconstruct,
    "caption": Caption,
}

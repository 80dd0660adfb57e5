from unreel.reports import reconstructions
from unreel.reports.explanation_files import write_explanations
from unreel.reports.gallery import lightened
from unreel.reports.page import EXPLANATIONS, write
from unreel.reports.reconstructions import errors_png
from unreel.reports.strips import worth_explaining
from unreel.reports.summary import write_summary
from unreel.reports.timeline import timeline_png
from unreel.reports.timelines import FRAME_TASKS

__all__ = [
    "EXPLANATIONS",
    "FRAME_TASKS",
    "errors_png",
    "lightened",
    "reconstructions",
    "timeline_png",
    "worth_explaining",
    "write",
    "write_explanations",
    "write_summary",
]

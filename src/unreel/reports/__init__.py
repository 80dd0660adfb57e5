from unreel.reports import reconstructions
from unreel.reports.page import write
from unreel.reports.summary import write_summary
from unreel.reports.timeline import timeline_png
from unreel.reports.timelines import FRAME_TASKS

__all__ = ["FRAME_TASKS", "reconstructions", "timeline_png", "write", "write_summary"]

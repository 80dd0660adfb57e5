from unreel.reports.page import write
from unreel.reports.summary import write_summary

__all__ = ["write", "write_summary"]

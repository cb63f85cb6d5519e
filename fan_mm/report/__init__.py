"""Results in, files out; nothing is measured here."""

from fan_mm.report.report import write_report

__all__ = ['write_report']

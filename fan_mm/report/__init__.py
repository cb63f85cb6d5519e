"""Results in, files out; nothing is measured here."""

from fan_mm.report.report import remove_report, write_report

__all__ = ['remove_report', 'write_report']

"""Pages: a run as one HTML file with figures that can be explored."""

from spikegrad.report.page.comparison import comparison_content
from spikegrad.report.page.run import run_content
from spikegrad.report.page.verification import verification_content
from spikegrad.report.page.write import html, write_page, write_report, write_runs

__all__ = [
    "comparison_content",
    "html",
    "run_content",
    "verification_content",
    "write_page",
    "write_report",
    "write_runs",
]

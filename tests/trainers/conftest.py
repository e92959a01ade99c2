"""Only trainers whose package is installed are collected; the head of the report names the others."""

from cases import CASES


def pytest_report_header():
    missing = sorted({case.package for case in CASES if not case.is_there()})
    return f"trainers not installed: {', '.join(missing) or 'none'}"

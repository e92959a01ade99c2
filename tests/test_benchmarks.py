"""What stands in benchmarks/ and is not timed: the pictures of the tables that are shipped."""

import runpy
import shutil
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_every_shipped_table_can_be_drawn_or_is_passed_over(tmp_path):
    """plot.py takes a folder of whatever results there are, and draws the attacks and the steps among them."""
    for path in (BENCHMARKS / "results").glob("*.json"):
        shutil.copy(path, tmp_path)
    runpy.run_path(str(BENCHMARKS / "plot.py"))["main"](tmp_path)
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert {"adult", "mnist-hinge", "mnist-log_loss", "refit"} <= drawn

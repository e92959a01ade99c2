"""``mtpfast demo``: one table, one picture, a progress display on a terminal only."""

import io
import re
import subprocess
import sys

import pytest

import mtpfast
from mtpfast import cli


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out, err = io.StringIO(), Terminal()
    figure = tmp_path_factory.mktemp("demo") / "demo.png"
    cli.demo(out, err, figure)
    return out.getvalue(), err.getvalue(), figure


def test_demo_prints_the_figures(demo):
    """A prototype with other solvers found 1,386 points (within 3 %), the paper's bound 72, the exact minimum 194."""
    text = demo[0]
    online = re.search(r"Algorithm 1 +D <= 0\.02 +[\d.]+ % +([\d,]+) +[\d.]+ % +([\d,]+)", text)
    n_points, bound = (int(group.replace(",", "")) for group in online.groups())
    assert n_points == pytest.approx(1386, rel=0.03)
    assert bound == pytest.approx(72, rel=0.03)
    assert "360 label flips" in text
    exact = re.search(r"exact minimum +exact +[\d.]+ % +(\d+) +[\d.]+ % +(\d+)", text)
    assert exact.groups() == ("194", "194") or exact.groups() == ("194", "193")
    assert "verified" in text


def test_demo_draws(demo):
    assert demo[2].read_bytes().startswith(b"\x89PNG")
    assert demo[2].stat().st_size < 200_000


def test_progress_is_for_terminals_only(demo, capsys):
    assert "loss difference" in demo[1]
    quiet = io.StringIO()
    progress = cli.Progress(quiet)
    progress({"n_points": 3, "loss_difference": 0.5})
    progress.say("something")
    assert quiet.getvalue() == ""


def test_commands(capsys, monkeypatch):
    monkeypatch.setattr(cli, "demo", lambda out, err, figure: out.write(f"figure {figure}"))
    assert cli.main(["demo"]) == 0
    assert cli.main(["demo", "--no-figure"]) == 0
    assert capsys.readouterr().out == "figure mtpfast_demo.pngfigure None"
    with pytest.raises(SystemExit, match="2"):
        cli.main([])
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert mtpfast.__version__ in capsys.readouterr().out


def test_interrupt_is_quiet(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "demo", interrupted)
    assert cli.main(["demo"]) == 130


def test_no_picture_without_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli._draw(None, None, None, None, tmp_path / "none.png") is False


def test_the_console_script_is_there():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from mtpfast.cli import main; sys.exit(main(['--version']))"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"mtpfast {mtpfast.__version__}")

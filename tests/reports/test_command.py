"""``mtpfast audit`` and ``mtpfast verify``: files, exit statuses, and what bad input says."""

import gzip
import html.parser
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from late_payers import table_of
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mtpfast import cli
from mtpfast.reports.tables import read_table, usual_pipeline

WHERE = "age < 40"
OWN = """
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

pipeline = make_pipeline(
    make_column_transformer((MinMaxScaler(), ["age"]), (OneHotEncoder(), ["work"])), LogisticRegression(C=0.05)
)
broken = make_pipeline(make_column_transformer((MinMaxScaler(), ["salary"])), LogisticRegression())
"""


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A short search: these tests are of files, not of damage."""
    import mtpfast.reports.command as command

    patch = pytest.MonkeyPatch()
    own = command.audit
    patch.setattr(command, "audit", lambda *args, **options: own(*args, n_starts=1, max_iter=25, **options))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("audit")
    X, y = table_of()
    table = X.assign(state=y)
    table[:160].to_csv(place / "train.csv", index=False)
    table[160:].to_csv(place / "holdout.csv", index=False)
    (place / "own_pipeline.py").write_text(OWN, encoding="utf-8")
    return place


def run(*arguments, capsys=None):
    """Exit status and what was printed."""
    status = cli.main([str(one) for one in arguments])
    return (status, *(capsys.readouterr() if capsys else ("", "")))


@pytest.fixture(scope="module")
def done(folder):
    files = [folder / "train.csv", "--test", folder / "holdout.csv", "--out", folder / "out", "--sarif"]
    asked = ["--label", "state", "--where", WHERE, "--goal", "error=0.35", "--budgets", "6,0.3", "--C", "0.01"]
    status, *_ = run(
        "audit", *files, *asked, "--fail-if-reached", "--sanitizers", "none", "--rules", '{"age": [18, 60]}', "--quiet"
    )
    return status, folder / "out"


def test_the_files_are_there_and_nothing_else(done, folder):
    expected = {"report.html", "report.json", "report.sarif", "inserted.csv", "inserted_6.csv", "inserted_48.csv"}
    assert {path.name for path in done[1].iterdir()} == {*expected, "results.npz"}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_exit_status_says_whether_the_goal_was_met_within_the_largest_budget(done):
    tree = json.loads((done[1] / "report.json").read_text(encoding="utf-8"))
    assert tree["fewest"] is not None
    assert done[0] == (1 if tree["fewest"]["records"] <= 48 else 0)
    sarif = json.loads((done[1] / "report.sarif").read_text(encoding="utf-8"))
    levels = {result["level"] for result in sarif["runs"][0]["results"]}
    assert levels == ({"error"} if done[0] else {"warning"})


def test_the_inserted_records_give_the_numbers_of_the_report(done, folder):
    """Read back from the files, with pandas and scikit-learn alone."""
    train, holdout = (pd.read_csv(folder / f"{part}.csv") for part in ("train", "holdout"))
    tree = json.loads((done[1] / "report.json").read_text(encoding="utf-8"))
    rows = holdout.eval(WHERE, engine="python").to_numpy()
    for point, name in [
        *((p, f"inserted_{p['allowed']}.csv") for p in tree["curve"]),
        (tree["fewest"], "inserted.csv"),
    ]:
        inserted = pd.read_csv(done[1] / name)
        assert inserted.columns.tolist() == train.columns.tolist()
        assert inserted["age"].between(18, 60).all()
        table = pd.concat([train, inserted], ignore_index=True)
        pipeline = usual_pipeline(train.drop(columns="state"), "linear_svc", C=0.01)
        fitted = clone(pipeline).fit(table.drop(columns="state"), table["state"])
        wrong = fitted.predict(holdout.drop(columns="state")) != holdout["state"].to_numpy()
        assert len(inserted) == point["records"]
        assert point["attack"]["measured"]["value"] == wrong[rows].mean()
        assert point["attack"]["everyone"]["value"] == wrong.mean()


class Page(html.parser.HTMLParser):
    """What a page is made of: open elements, what it loads, its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.sources, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_and_needs_nothing_else(done):
    """Every element is closed, no script, every picture inside; the first sentence comes first, and "<" is a word."""
    text = (done[1] / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "script" not in page.seen
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert "url(" not in text
    assert "prefers-color-scheme" in text
    assert "@media print" in text
    tree = json.loads((done[1] / "report.json").read_text(encoding="utf-8"))
    words = " ".join(page.words)
    assert tree["summary"] in words
    assert words.index(tree["summary"]) < words.index("What inserted records can do")
    assert "&lt;" in text


def test_the_page_is_drawn_by_a_browser(done, tmp_path):
    """Where Chromium is installed: the page fills a picture that is not blank. Where it is not, the page was parsed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("no Chromium is installed: the page was parsed, not drawn")  # noqa: T201
        return
    from matplotlib.image import imread

    page = (done[1] / "report.html").resolve().as_uri()
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]

    def draw(*options):
        subprocess.run([*command, *options, page], check=True, capture_output=True, timeout=120)

    paper = {}
    for scheme, number in (("dark", 0), ("light", 1)):
        shot = tmp_path / f"{scheme}.png"
        draw("--window-size=800,600", f"--screenshot={shot}", f"--blink-settings=preferredColorScheme={number}")
        pixels = imread(shot)[:, :, :3]
        assert pixels.shape[:2] == (600, 800)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
        paper[scheme] = np.median(pixels)
    assert paper["dark"] < 0.2 < 0.9 < paper["light"]
    draw(f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer", "--blink-settings=preferredColorScheme=0")
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") + printed.count(b"/Type /Page/") >= 1


def test_verify_proves_the_results_again(done, folder, capsys):
    """All hold on the table they were found on; on another table some do not, and the status says so."""
    results, options = done[1] / "results.npz", ["--label", "state", "--C", "0.01"]
    status, out, _ = run("verify", results, folder / "train.csv", *options, capsys=capsys)
    assert status == 0
    assert out.count("holds") == 5
    other = pd.read_csv(folder / "train.csv").assign(state=lambda table: table["state"].to_numpy()[::-1])
    other.to_csv(folder / "other.csv", index=False)
    status, out, _ = run("verify", results, folder / "other.csv", *options, capsys=capsys)
    assert status == 1
    assert "DOES NOT HOLD" in out
    status, _, err = run("verify", results, folder / "train.csv", "--label", "state", capsys=capsys)
    assert status == 2
    assert "made with --C 0.01, got 1.0" in err
    status, _, err = run("verify", folder / "train.csv", folder / "train.csv", *options, capsys=capsys)
    assert status == 2
    assert err.endswith("train.csv is no file of results: an .npz was expected, as an audit or result.save writes it\n")
    np.save(folder / "array.npy", np.zeros(3))
    np.savez(folder / "other.npz", np.zeros(3))
    for name in ("array.npy", "other.npz", "nowhere.npz"):
        status, _, err = run("verify", folder / name, folder / "train.csv", *options, capsys=capsys)
        assert (status, err.count("\n")) == (2, 1)
        assert name in err


def test_a_pipeline_comes_by_its_import_path(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["--label", "state", "--budgets", "3", "--sanitizers", "none", "--pipeline", "own_pipeline:pipeline"]
    status, out, err = run("audit", "train.csv", *options, "--out", "own", capsys=capsys)
    assert (status, err) == (0, "")
    assert "LogisticRegression(C=0.05)" in out
    tree = json.loads((folder / "own" / "report.json").read_text(encoding="utf-8"))
    assert tree["question"]["measured_on"] == "training rows"
    assert tree["model"]["features"] == 4


def test_a_pipeline_comes_as_a_skops_file(folder, capsys, monkeypatch):
    """What skops trusts is read; a type of one's own is named and not loaded, until the user trusts it."""
    from skops import io

    monkeypatch.chdir(folder)
    train = pd.read_csv("train.csv")
    plain = usual_pipeline(train.drop(columns="state"), "logistic", C=0.07)
    io.dump(plain, "plain.skops")
    own = clone(plain).set_params(columns__numbers=make_pipeline(OwnStep(), SimpleImputer()))
    io.dump(own, "own.skops")
    options = ["--label", "state", "--budgets", "2", "--sanitizers", "none", "--where", "age < 20"]
    status, out, err = run("audit", "train.csv", *options, "--pipeline", "plain.skops", "--out", "skops", capsys=capsys)
    assert (status, err) == (0, "")
    assert "C=0.07" in out
    status, _, err = run("audit", "train.csv", *options, "--pipeline", "own.skops", "--out", "no", capsys=capsys)
    assert status == 2
    assert "OwnStep" in err
    assert err.count("\n") == 1
    status, _, err = run(
        "audit", "train.csv", *options, "--pipeline", "own.skops", "--trust", f"{__name__}.OwnStep", "--out", "no",
        capsys=capsys,
    )  # fmt: skip
    assert status == 2  # read, and then refused by what it is: its records cannot be written back
    assert "OwnStep" in err
    assert "cannot be traced back to records" in err


class OwnStep(FunctionTransformer):
    """A step of a user's own."""


def test_tables_of_every_kind_are_read_alike(tmp_path):
    """CSV, TSV, gzip and Parquet: the same frame, floats to the last digit."""
    table = table_of(30)[0].assign(share=np.random.default_rng(0).normal(size=30))
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    table.to_csv(tmp_path / "t.csv.gz", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.tsv", "t.csv.gz", "t.parquet"):
        pd.testing.assert_frame_equal(read_table(tmp_path / name), table, check_exact=True)


def bad_tables(place):
    X, y = table_of(40)
    table = X.assign(state=y)
    kinds = {
        "plain": table,
        "three": table.assign(state=np.resize(["a", "b", "c"], 40)),
        "gone": table.assign(state=table["state"].where(table["age"] > 40)),
        "void": table.assign(void=np.nan),
    }
    for name, frame in kinds.items():
        frame.to_csv(place / f"{name}.csv", index=False)
    text = (place / "plain.csv").read_text(encoding="utf-8").splitlines()
    (place / "long.csv").write_text("\n".join([*text[:3], text[3] + ",x", *text[4:]]), encoding="utf-8")
    (place / "short.csv").write_text("\n".join([*text[:3], text[3].rpartition(",")[0], *text[4:]]), encoding="utf-8")
    (place / "header.csv").write_text(text[0] + "\n", encoding="utf-8")
    (place / "empty.csv").write_text("", encoding="utf-8")
    (place / "image.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR,\n1,2,3\n")
    (place / "wide.csv").write_text("a,b\n1,2\n", encoding="utf-16")
    (place / "latin.csv").write_text("a,b\n\u00e9,2\n", encoding="latin-1")
    (place / "table.txt").write_text("a\n", encoding="utf-8")
    (place / "cut.csv.gz").write_bytes(gzip.compress("\n".join(text).encode())[:-12])
    (place / "file").write_text("", encoding="utf-8")
    (place / "own_pipeline.py").write_text(OWN, encoding="utf-8")


BAD = [
    ("plain.csv", ["--label", "income"], "there is no label column 'income'; the columns are 'age'"),
    ("three.csv", [], "y must hold two labels, got 3: 'a', 'b', 'c'"),
    ("gone.csv", [], "the label 'state' is missing in"),
    ("void.csv", [], "column 'void' has no value in any row"),
    ("plain.csv", ["--where", "age > 200"], "where selects no row of X: age > 200"),
    ("plain.csv", ["--where", "age >"], "where is no query on the columns"),
    ("plain.csv", ["--goal", "error=0.001"], "goal is met already"),
    ("plain.csv", ["--goal", "half"], "--goal must be metric=value"),
    ("plain.csv", ["--goal", "accuracy=0.5"], "metric must be one of 'error'"),
    ("plain.csv", ["--out", "file"], "--out file is a file"),
    ("plain.csv", ["--out", "file/audit"], "there is no folder"),
    ("plain.csv", ["--budgets", "many"], "--budgets must be numbers"),
    ("plain.csv", ["--drop", "salary"], "there is no column to drop 'salary'"),
    ("plain.csv", ["--rules", '{"salary": 3}'], "rules: there is no column 'salary'"),
    ("plain.csv", ["--rules", "nothing.json"], "--rules must be JSON or a file of it"),
    ("plain.csv", ["--pipeline", "own_pipeline:broken"], "the pipeline does not fit the table: ValueError"),
    ("plain.csv", ["--pipeline", "own_pipeline:nothing"], "--pipeline own_pipeline:nothing: AttributeError"),
    ("plain.csv", ["--pipeline", "own_pipeline"], "--pipeline must be module:object"),
    ("plain.csv", ["--C", "-1"], "--C must be above 0"),
    ("plain.csv", ["--fail-if-reached"], "--fail-if-reached needs a --goal"),
    ("plain.csv", ["--test", "void.csv"], ""),
    ("long.csv", [], "long.csv"),
    ("short.csv", [], "short.csv, line 4: 3 fields where the header has 4"),
    ("header.csv", [], "header.csv holds no rows"),
    ("empty.csv", [], "empty.csv holds no table"),
    ("image.csv", [], "image.csv is no text in UTF-8: it holds zero bytes"),
    ("wide.csv", [], "wide.csv is no text in UTF-8: it holds zero bytes"),
    ("latin.csv", [], "latin.csv holds no table: 'utf-8' codec can't decode"),
    ("table.txt", [], "a name that ends in .csv"),
    ("cut.csv.gz", [], "cut.csv.gz holds no table"),
    ("missing.csv", [], "missing.csv"),
]


@pytest.mark.parametrize("table, options, message", BAD, ids=[f"{t} {' '.join(o)}" for t, o, _ in BAD])
def test_bad_input_is_one_line_and_status_2(tmp_path, table, options, message, capsys, monkeypatch):
    """Nothing is written, not even by halves, and nothing but the line is said."""
    bad_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir(tmp_path))
    given = ["audit", table, "--budgets", "2", "--quiet", *options]
    given += [] if "--label" in options else ["--label", "state"]
    status, out, err = run(*given, *([] if "--out" in options else ["--out", "out"]), capsys=capsys)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("mtpfast audit: ")
    assert message in err
    assert [name for name in sorted(os.listdir(tmp_path)) if name != "__pycache__"] == before


def test_without_pandas_the_command_names_its_extra(tmp_path, capsys, monkeypatch):
    """A package that is not there is no goal that was met (status 1): status 2, and one line."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    status, _, err = run("audit", str(tmp_path / "t.csv"), "--label", "y", capsys=capsys)
    assert status == 2
    assert 'pip install "mtpfast[audit]"' in err
    assert err.count("\n") == 1

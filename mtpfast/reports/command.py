"""``mtpfast audit`` and ``mtpfast verify``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from .audit import audit
from .sarif import sarif_of
from .saved import load_results, save_results, verify_results
from .tables import VICTIMS, missing_columns, one_line, read_table, split_label, usual_pipeline

__all__ = ["BadInput", "add_commands", "run"]


class BadInput(ValueError):
    """What the user gave cannot be used: one line, exit status 2."""


AUDIT = """\
What inserted records can do to a model that is trained on a table: how wrong
they make it, which records, which checks see them, and what is proved. Writes
a page, JSON, and the records.

exit status: 0 done; 1 the goal was met within the largest budget (with
--fail-if-reached); 2 bad input; 130 interrupted, what was done is written
"""
AUDIT_EXAMPLE = """\
example: how many records make it wrong on half of the applicants below 25?
  mtpfast audit train.csv --label default --test holdout.csv \\
      --where "AGE < 25" --goal error=0.5 --out audit/
"""
VERIFY = """\
Prove what an audit saved again, from the clean table.

exit status: 0 every claim holds; 1 some claim does not, or could not be
decided; 2 bad input; 130 interrupted
"""
VERIFY_EXAMPLE = """\
example, with the --drop, --victim, --C and --pipeline of the audit:
  mtpfast verify audit/results.npz train.csv --label default
"""


def add_commands(commands) -> None:
    """The arguments of both commands, for argparse."""
    raw = argparse.RawDescriptionHelpFormatter
    first = commands.add_parser(
        "audit",
        help="what inserted records can do to a model trained on a table",
        description=AUDIT,
        epilog=AUDIT_EXAMPLE,
        formatter_class=raw,
    )
    _shared(first)
    first.add_argument("--where", metavar="QUERY", help="the rows aimed at: a pandas query such as "
                       '"AGE < 25 and y == 0" (default: all rows)')  # fmt: skip
    first.add_argument("--goal", metavar="METRIC=VALUE", help="such as error=0.5; also false_negative_rate and "
                       "false_positive_rate (default: none, only the budgets)")  # fmt: skip
    first.add_argument("--metric", default="error", help="what is measured without --goal (default: %(default)s)")
    first.add_argument("--budgets", default="0.005,0.01,0.02,0.03,0.05,0.1", help="numbers of records, or shares of "
                       "the rows (default: %(default)s)")  # fmt: skip
    first.add_argument("--rules", metavar="JSON", help="rules on raw columns, or a file of them: a value, [low, high], "
                       'levels, such as \'{"age": [18, 60], "y": "no"}\' (default: the ranges and levels of the table)')
    first.add_argument("--test", metavar="TABLE", help="a holdout, on which everything is measured (default: the rows "
                       "of the table)")  # fmt: skip
    first.add_argument("--sanitizers", choices=["default", "all", "none"], default="default", help="which checks are "
                       "tried on the records: the quick ones, all, none (default: %(default)s)")  # fmt: skip
    first.add_argument("--time-limit", type=float, metavar="SECONDS", help="for everything; each part has a share: "
                       "damage curve 35 %%, fewest records 20, label flips 10, exact minimum 5, checks 10, guarantees "
                       "15, in this order. One that runs over takes from those after it; the report names what was "
                       "left undone, and what is found then depends on the machine (default: none)")  # fmt: skip
    first.add_argument("--random-state", type=int, default=0, help="of the searches (default: %(default)s)")
    first.add_argument("--out", default="audit", metavar="FOLDER", help="where the files go (default: %(default)s)")
    first.add_argument("--jobs", type=int, default=1, help="threads for the guarantees (default: %(default)s)")
    first.add_argument(
        "--prove", default="1000", metavar="ROWS", help="of how many rows to ask for a guarantee: a number, all or "
        "none (default: %(default)s)"
    )  # fmt: skip
    first.add_argument("--checkpoint", metavar="FOLDER", help="where it keeps what is done, to go on from after a kill")
    first.add_argument("--sarif", action="store_true", help="also write report.sarif")
    first.add_argument("--fail-if-reached", action="store_true", help="exit with 1 if the goal was met")
    first.add_argument("--quiet", action="store_true", help="print nothing but errors")
    second = commands.add_parser(
        "verify",
        help="prove a saved result again from the clean table",
        description=VERIFY,
        epilog=VERIFY_EXAMPLE,
        formatter_class=raw,
    )
    second.add_argument("results", help="results.npz of an audit, or a file of result.save or guarantee.save")
    _shared(second)
    second.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _shared(command):
    command.add_argument("table", help="CSV, TSV (also gzipped) or Parquet, with a header")
    command.add_argument("--label", required=True, help="the label's column; it holds two values")
    command.add_argument("--drop", default="", metavar="COLUMNS", help="columns to leave out, such as ID,name "
                         "(default: none)")  # fmt: skip
    command.add_argument("--victim", choices=sorted(VICTIMS), default="linear_svc", help="the model at the end of the "
                         "usual pipeline: impute, scale, one-hot (default: %(default)s)")  # fmt: skip
    command.add_argument("--C", type=float, default=1.0, help="its inverse penalty (default: %(default)s)")
    command.add_argument("--class-weight", choices=["balanced"], help="of the victim (default: every row weighs 1)")
    command.add_argument("--pipeline", metavar="MODULE:OBJECT", help="your own pipeline in place of the usual one: by "
                         "import path, such as train:pipeline, or a .skops file")  # fmt: skip
    command.add_argument("--trust", default="", metavar="TYPES", help="types that a .skops file may hold, by commas")


def run(args, out=None, err=None) -> int:
    """Run a parsed command; returns the exit status."""
    out, err = sys.stdout if out is None else out, sys.stderr if err is None else err
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the trainer warns of is in the report
            return (_audit if args.command == "audit" else _verify)(args, out, err)
    except (ValueError, TypeError, OSError) as error:
        err.write(f"mtpfast {args.command}: {one_line(error)}\n")
        return 2
    except ImportError as error:  # pandas, which mtpfast alone does not bring
        err.write(f'mtpfast {args.command}: {one_line(error)}: pip install "mtpfast[audit]"\n')
        return 2


# -- audit --------------------------------------------------------------------------------------------


def _audit(args, out, err):
    goal, budgets = _read_goal(args.goal), _read_budgets(args.budgets)
    if args.fail_if_reached and goal is None:
        raise BadInput("--fail-if-reached needs a --goal")
    X, y = _read(args, args.table)
    X_test, y_test = _read(args, args.test) if args.test else (None, None)
    pipeline = _pipeline(args, X)
    say = (lambda text: None) if args.quiet else (lambda text: out.write(text + "\n"))
    say(f"pipeline:\n{pipeline!r}\n")
    with _Folder(args.out) as folder:
        report = audit(
            pipeline, X, y, X_test, y_test, goal=goal, where=args.where, rules=_read_rules(args.rules), budgets=budgets,
            sanitizers=None if args.sanitizers == "none" else args.sanitizers, metric=args.metric,
            time_limit=args.time_limit, random_state=args.random_state, verbose=0 if args.quiet else 1,
            checkpoint=args.checkpoint, n_jobs=args.jobs, prove=_read_prove(args.prove),
        )  # fmt: skip
        _write(report, folder.path, args, [*X.columns, args.label])
    say(repr(report))
    say(f"\nwritten: {', '.join(sorted(folder.names))} in {args.out}")
    if any(part["status"] == "interrupted" for part in report.tree["parts"]):
        return 130
    return 1 if args.fail_if_reached and report.goal_met else 0


def _write(report, folder, args, columns):
    report.to_html(folder / "report.html")
    report.to_json(folder / "report.json")
    if report.result() is not None:
        report.records()[columns].to_csv(folder / "inserted.csv", index=False)
    for budget in report.tree["question"]["budgets"]:
        if budget["records"] in report.results:
            name = f"inserted_{budget['records']}.csv"
            report.records(budget["given"])[columns].to_csv(folder / name, index=False)
    kept = ("label", "drop", "victim", "C", "class_weight", "pipeline")
    save_results(report, folder / "results.npz", {name: getattr(args, name) for name in kept})
    if args.sarif:
        text = json.dumps(sarif_of(report.tree, args.table), indent=1, ensure_ascii=False)
        (folder / "report.sarif").write_text(text + "\n", encoding="utf-8")


class _Folder:
    """A temporary folder beside the one asked for; its files are moved when all of them are whole."""

    def __init__(self, out):
        self.out, self.names = Path(out), []

    def __enter__(self):
        parent = self.out.resolve().parent
        if self.out.exists() and not self.out.is_dir():
            raise BadInput(f"--out {self.out} is a file, not a folder")
        if not parent.is_dir():
            raise BadInput(f"--out {self.out}: there is no folder {parent}")
        try:
            if self.out.is_dir():
                tempfile.TemporaryFile(dir=self.out).close()
            self.path = Path(tempfile.mkdtemp(prefix=f".{self.out.name}-", dir=parent))
        except OSError as error:
            raise BadInput(f"--out {self.out} cannot be written to: {error.strerror}") from None
        return self

    def __exit__(self, kind, *rest):
        try:
            if kind is None:
                self.out.mkdir(exist_ok=True)
                self.names = [path.name for path in self.path.iterdir()]
                for name in self.names:
                    os.replace(self.path / name, self.out / name)
        finally:
            shutil.rmtree(self.path, ignore_errors=True)


# -- verify -------------------------------------------------------------------------------------------


def _verify(args, out, err):
    X, y = _read(args, args.table)
    labels = np.asarray(y)
    pipeline = _pipeline(args, X)
    first = None
    if hasattr(pipeline, "steps") and len(pipeline.steps) > 1:
        try:
            first = pipeline[:-1].fit(X, labels)
        except Exception as error:  # whatever a user's own pipeline raises
            raise BadInput(f"the pipeline does not fit the table: {type(error).__name__}: {one_line(error)}") from None
    results, settings = load_results(args.results, first)
    for name in ("label", "drop", "victim", "C", "class_weight", "pipeline"):
        if settings and settings.get(name) != getattr(args, name):
            raise BadInput(f"the results were made with --{name.replace('_', '-')} {settings.get(name)!r}, got "
                           f"{getattr(args, name)!r}")  # fmt: skip
    claims, words = [], {True: "holds", False: "DOES NOT HOLD", None: "not decided"}
    try:
        for claim in verify_results(results, X, labels, first):
            claims.append(claim)
            if not args.quiet:
                out.write(f"{claim.name}: {words[claim.ok]}: {claim.message}\n")
    except KeyboardInterrupt:
        hold = sum(claim.ok is True for claim in claims)
        err.write(f"mtpfast verify: interrupted: {hold} of {len(results)} results hold, the others are not checked\n")
        return 130
    return 0 if all(claim.ok for claim in claims) else 1


# -- what is read -------------------------------------------------------------------------------------


def _read(args, path):
    X, y = split_label(read_table(path), args.label, [name for name in args.drop.split(",") if name])
    return X, y


def _pipeline(args, X):
    if args.pipeline is None:
        if not args.C > 0:
            raise BadInput(f"--C must be above 0, got {args.C:g}")
        if empty := missing_columns(X):
            raise BadInput(f"column {empty[0]!r} has no value in any row: --drop it")
        return usual_pipeline(X, args.victim, args.C, args.class_weight)
    if args.pipeline.endswith(".skops"):
        return _from_skops(args.pipeline, [name for name in args.trust.split(",") if name])
    module, colon, name = args.pipeline.partition(":")
    if not colon or not module or not name:
        raise BadInput(f"--pipeline must be module:object or a .skops file, got {args.pipeline!r}")
    try:
        sys.path.insert(0, os.getcwd())
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the user's module raises
        raise BadInput(f"--pipeline {args.pipeline}: {type(error).__name__}: {one_line(error)}") from None
    finally:
        sys.path.remove(os.getcwd())
    return found() if callable(found) and not hasattr(found, "fit") else found


def _from_skops(path, trusted):
    """A pipeline from a skops file; types that neither skops nor the user trusts are named, and not loaded."""
    try:
        from skops import io
    except ImportError:
        raise BadInput('a .skops file needs skops: pip install "mtpfast[skops]"') from None
    try:
        unknown = sorted(set(io.get_untrusted_types(file=path)) - set(trusted))
        if unknown:
            raise BadInput(f"{path} holds types that are not trusted: {', '.join(unknown)}; --trust them if you do")
        return io.load(path, trusted=trusted)
    except BadInput:
        raise
    except Exception as error:  # a file that is none
        raise BadInput(f"{path}: {type(error).__name__}: {one_line(error)}") from None


def _read_goal(text):
    if text is None:
        return None
    name, _, value = text.partition("=")
    try:
        return {name.strip(): float(value)}
    except ValueError:
        raise BadInput(f"--goal must be metric=value, such as error=0.5, got {text!r}") from None


def _read_budgets(text):
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--budgets must be numbers separated by commas, got {text!r}") from None
    return [int(number) if number >= 1 and number == int(number) else number for number in numbers]


def _read_prove(text):
    known = {"all": True, "none": False}
    if text not in known and not text.isdecimal():
        raise BadInput(f"--prove must be a number of rows, all or none, got {text!r}")
    return known[text] if text in known else int(text)


def _read_rules(text):
    """JSON, or the name of a file of it; a list of two numbers is a range, any other list the allowed levels."""
    if text is None:
        return None
    try:
        source = text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8")
        rules = json.loads(source)
    except (OSError, ValueError) as error:
        raise BadInput(f"--rules must be JSON or a file of it: {one_line(error)}") from None
    if not isinstance(rules, dict):
        raise BadInput(f"--rules must be a JSON object of columns, got {type(rules).__name__}")

    def read(rule):
        numbers = isinstance(rule, list) and len(rule) == 2 and all(isinstance(one, (int, float)) for one in rule)
        return tuple(rule) if numbers else rule

    return {name: read(rule) for name, rule in rules.items()}

"""``mtpfast audit`` on five raw tables, and its numbers by a script that only uses pandas and scikit-learn.

    MTPFAST_DATA=folder python benchmarks/audit.py [set ...] [--victim logistic|linear_svc] [--out results/audit.json]

Every table is split once, 80 % to train and 20 % as holdout. The audit is run by its command; then the pipeline is
built and fitted by hand to the training table with inserted*.csv below it, and every number of the report is compared:
equal, not nearly.
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from mtpfast.cli import main as mtpfast

HERE = Path(__file__).parent
SETS = {  # label, columns to drop, the rows aimed at
    "german": ("class", "", "age_years < 25"),
    "compas": ("two_year_recid", "is_recid,is_violent_recid", "age < 25"),
    "credit_default": ("default", "ID", "AGE < 25"),
    "bank": ("y", "", "age < 30"),
    "adult": ("income", "split", "age < 25"),
}
VICTIMS = {
    "logistic": (["--victim", "logistic", "--class-weight", "balanced"],
                 LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)),
    "linear_svc": (["--victim", "linear_svc"], LinearSVC(C=1.0)),
}  # fmt: skip
GOAL = 0.5


def pipeline_of(X, model):
    """Impute, scale, one-hot with rare levels: by hand."""
    numbers = X.select_dtypes("number").columns.tolist()
    levels = [name for name in X.columns if name not in numbers]
    scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    coded = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.01),
    )
    parts = [("numbers", scaled, numbers), ("levels", coded, levels)]
    return make_pipeline(ColumnTransformer([part for part in parts if part[2]]), model)


def errors(train, holdout, inserted, label, drop, where, model):
    """scikit-learn alone: append, fit, count; on the rows aimed at and on all."""
    table = pd.concat([train.drop(columns=drop), inserted], ignore_index=True)
    X, X_test = table.drop(columns=label), holdout.drop(columns=[label, *drop])
    fitted = pipeline_of(X, model).fit(X, table[label])
    wrong = fitted.predict(X_test) != holdout[label].to_numpy()
    aimed = holdout.eval(where, engine="python").to_numpy()
    return float(wrong[aimed].mean()), float(wrong.mean())


def run(name, victim, data):
    """One audit, and its numbers by hand."""
    label, drop, where = SETS[name]
    options, model = VICTIMS[victim]
    table = pd.read_csv(data / f"{name}_raw.csv.gz")
    train, holdout = train_test_split(table, test_size=0.2, random_state=0, stratify=table[label])
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        for part, rows in (("train", train), ("holdout", holdout)):
            rows.to_csv(place / f"{part}.csv", index=False)
        train, holdout = (pd.read_csv(place / f"{part}.csv") for part in ("train", "holdout"))
        command = ["audit", str(place / "train.csv"), "--label", label, "--test", str(place / "holdout.csv")]
        command += ["--where", where, "--goal", f"error={GOAL}", "--out", str(place / "out"), "--quiet"]
        command += options  # the default call: one worker
        command += ["--drop", drop] if drop else []
        cpu, wall = time.process_time(), time.perf_counter()
        status = mtpfast(command)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if status != 0:
            raise SystemExit(f"{name}, {victim}: exit status {status}")
        tree = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
        html = (place / "out" / "report.html").read_text(encoding="utf-8")
        drop = [column for column in drop.split(",") if column]
        compared, different = 0, []
        empty = pd.read_csv(place / "out" / "inserted.csv")[:0]
        points = [(tree["clean"], empty, "clean")]
        for point in tree["curve"]:
            inserted = pd.read_csv(place / "out" / f"inserted_{point['allowed']}.csv")
            points.append((point["attack"], inserted, point["allowed"]))
        if tree["fewest"]:
            inserted = pd.read_csv(place / "out" / "inserted.csv")
            points.append((tree["fewest"]["attack"], inserted, "goal"))
        for told, inserted, which in points:
            by_hand = errors(train, holdout, inserted, label, drop, where, model)
            compared += 2
            if by_hand != (told["measured"]["value"], told["everyone"]["value"]):
                different.append((which, by_hand, told["measured"]["value"], told["everyone"]["value"]))
    line = {"set": name, "victim": victim, "cpu_seconds": cpu, "wall_seconds": wall, "compared": compared,
            "different": different, "commit": environment.describe()["commit"], "report": tree}  # fmt: skip
    return line, html


def markdown(lines):
    """The table of results."""
    head = ("set", "victim", "aimed at", "CPU s", "wall s", "clean", "0.5 %", "1 %", "3 %", "10 %", "flips 10 %",
            "goal 50 %", "proved", "by hand")  # fmt: skip
    commits = ", ".join(dict.fromkeys(line["commit"] for line in lines))
    text = ["# Audits", "", "From `python benchmarks/audit.py`: the default call of the command, one worker, one",
            f"thread, at commit {commits}. Budgets in shares of the training rows; error on the rows aimed at, in the",
            "holdout, of the pipeline refitted. Wall seconds of a machine with other work, CPU seconds of all parts.",
            "",
            f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]  # fmt: skip
    for line in lines:
        tree = line["report"]
        at = {point["budget"]: point for point in tree["curve"]}
        value = {b: f"{100 * p['attack']['measured']['value']:.1f} %" for b, p in at.items()}
        flips = at[0.1]["flips"] if 0.1 in at else None
        proof = tree["proof"]
        proved = f"not proved: {proof['reason'][:24]}..."
        if proof["proved"]:
            least = proof["fewer_than"]
            looked = f"({proof['rows_looked_at']:,} of {proof['rows']:,} rows)"
            proved = f"{'no number' if least is None else f'{least:,} at least' if least > 1 else 'nothing'} {looked}"
        equal = "all equal" if not line["different"] else f"{len(line['different'])} differ"
        clean = f"{100 * tree['clean']['measured']['value']:.1f} %"
        goal = f"{tree['fewest']['records']:,}" if tree["fewest"] else "not found"
        cells = [line["set"], line["victim"], f"`{tree['question']['where']}`", f"{line['cpu_seconds']:.0f}",
                 f"{line['wall_seconds']:.0f}", clean, *(value.get(b, "-") for b in (0.005, 0.01, 0.03, 0.1)),
                 f"{100 * flips['measured']['value']:.1f} %" if flips else "-", goal, proved,
                 f"{line['compared']} numbers, {equal}"]  # fmt: skip
        text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="set", help=f"of {', '.join(SETS)}")
    parser.add_argument("--victim", choices=list(VICTIMS))
    parser.add_argument("--out", default=str(HERE / "results" / "audit.json"))
    parser.add_argument("--html", help="a folder for the pages")
    args = parser.parse_args()
    out = Path(args.out)
    lines = json.loads(out.read_text(encoding="utf-8"))["audits"] if out.exists() else []
    for name in args.sets or SETS:
        for victim in [args.victim] if args.victim else VICTIMS:
            line, html = run(name, victim, Path(os.environ["MTPFAST_DATA"]))
            lines = [old for old in lines if (old["set"], old["victim"]) != (name, victim)] + [line]
            lines.sort(key=lambda one: (list(SETS).index(one["set"]), list(VICTIMS).index(one["victim"])))
            kept = {"environment": environment.describe(), "audits": lines}
            out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            out.with_suffix(".md").write_text(markdown(lines), encoding="utf-8")
            if args.html:
                (Path(args.html) / f"{name}-{victim}.html").write_text(html, encoding="utf-8")
            differ = f"{len(line['different'])} numbers differ"
            print(
                f"{name}, {victim}: {line['cpu_seconds']:.0f} CPU s, {differ}\n{line['report']['summary']}", flush=True
            )


if __name__ == "__main__":
    sys.exit(main())

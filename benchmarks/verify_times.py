"""How long `verify` takes beside the attack that it checks, on every table.

    python benchmarks/verify_times.py                      # about ten minutes
    python benchmarks/verify_times.py --only german compas_raw --victim hinge
    python benchmarks/verify_times.py --rows 2500          # of every table, at most
    python benchmarks/verify_times.py --only imdb          # 25,000 x 89,527: twenty minutes, not among the others

Arrays (dense, and the sparse sms and enron) are attacked over the box that holds
them, raw tables through a Pipeline over the records that could exist. Two targets: the model for the clean rows and
those of the lowest 20 % of margins flipped and repeated, and "everybody alike", w = 0 and b = +-1, which puts every
row of one label on the margin. Victims: hinge with a penalised intercept (LinearSVC) and with a free one (SVC), log
loss with a free one (LogisticRegression). A claim that fails ends the run; one that is undecided is named, and so is
an attack that raises. The aim is ``verify <= 5 attack + 2 s``.
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import sys
import time
import warnings

import datasets
import numpy as np
import report
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from mtpfast import FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner, make_target

#: name: alpha of the arrays; with 0.09 the victims of some see one class only
ARRAYS = {
    "german": 1e-3,
    "compas": 0.01,
    "spambase": 0.01,
    "sms": 0.01,
    "enron": 0.01,
    "adult": 0.01,
    "adult_balanced": 0.01,
    "mnist": 0.09,
    "mnist_69": 0.09,
    "credit_default": 1e-3,
    "bank": 1e-3,
    "imdb": 0.01,
}
#: name: (label, columns that are dropped, numbers that are not scaled but encoded, scaler)
TABLES = {
    "german_raw": ("class", [], ["installment_rate"], MinMaxScaler),
    "compas_raw": ("two_year_recid", ["days_b_screening_arrest", "is_recid", "is_violent_recid"], [], StandardScaler),
    "adult_raw": ("income", ["fnlwgt", "education", "native-country"], ["education-num"], MinMaxScaler),
    "credit_default_raw": ("default", ["ID"], ["SEX", "EDUCATION", "MARRIAGE", "PAY_0"], StandardScaler),
    "bank_raw": ("y", ["duration"], [], StandardScaler),
}
VICTIMS = ("hinge", "hinge, free intercept", "log_loss")
C_OF_TABLES = 0.1
MAX_POINTS = 100  # of Algorithm 1


def table_of(name, rows):
    """(table, labels) of the training part, ``rows`` at most."""
    import pandas as pd

    label, dropped, *_ = TABLES[name]
    path = datasets.DATA / f"{name}.csv.gz"
    if not path.exists():
        raise SystemExit(f"{path.name} is not in {datasets.DATA}: put it there, or set MTPFAST_DATA to its folder")
    table = pd.read_csv(path)
    if "split" in table:
        table = table[table["split"] == "train"].drop(columns="split")
    table = table.drop(columns=dropped).dropna().reset_index(drop=True).head(rows)
    return table.drop(columns=label), table[label].to_numpy()


def pipeline(name, table, victim):
    from pandas.api.types import is_numeric_dtype

    _, _, encoded, scaler = TABLES[name]
    words = [c for c in table if c in encoded or not is_numeric_dtype(table[c])]
    first = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), words), (scaler(), [c for c in table if c not in words])
    )
    models = {
        "hinge": LinearSVC(loss="hinge", C=C_OF_TABLES),
        "hinge, free intercept": SVC(kernel="linear", C=C_OF_TABLES),
        "log_loss": LogisticRegression(C=C_OF_TABLES),
    }
    return make_pipeline(first, models[victim])


def options_of(victim):
    return {"loss": victim.split(",")[0], "penalize_intercept": victim == "hinge"}


def attacks_on(name, victim, rows):
    """(attacker class, target's name, attacker, target, data) of one table and victim."""
    for method, extra in ((MinimumPoisoner, {}), (ModelTargetedPoisoner, {"tol": 0.01, "max_points": MAX_POINTS})):
        if name in ARRAYS:
            data = datasets.load(name)
            X, y = data.X_train[:rows], data.y_train[:rows]
            victims = {**options_of(victim), "alpha": ARRAYS[name]}
            attacker = method(feasible_set=FeatureSpace(0.0, 1.0), **victims, **extra).fit(X, y)
            flipped = make_target(X, y, quantiles=[0.2], repeats=[2], goal=0, **victims)
        else:
            X, y = table_of(name, rows)
            attacker = method.from_estimator(pipeline(name, X, victim), **extra).fit(X, y)
            known = {**options_of(victim), "C": C_OF_TABLES, "preprocessing": attacker.preprocessing_}
            flipped = make_target(X, y, quantiles=[0.2], repeats=[2], goal=0, **known)
        yield "labels flipped", attacker, flipped, X, y
        if method is MinimumPoisoner:
            often = 1.0 if np.mean(y == attacker.classes_[1]) > 0.5 else -1.0
            yield "everybody alike", attacker, (np.zeros(attacker.coef_.shape[1]), often), X, y


def rows_of(name, victim, rows):
    """One row of the table for each target and method."""
    for title, attacker, target, X, y in attacks_on(name, victim, rows):
        row = {
            "data": name,
            "rows": X.shape[0],
            "victim": victim,
            "target": title,
            "method": type(attacker).__name__,
        }
        start = time.process_time()
        try:
            result = attacker.attack(target)
        except (ValueError, ArithmeticError) as error:
            yield row | {"status": f"{type(error).__name__}: {error}"}
            continue
        attack = time.process_time() - start
        start = time.process_time()
        checked = result.verify(X, y)
        seconds = time.process_time() - start
        yield row | {
            "status": result.status,
            "points": result.n_points,
            "attack, s": round(attack, 2),
            "verify, s": round(seconds, 2),
            "of the aim": round(seconds / (5.0 * attack + 2.0), 2),
            "undecided": ", ".join(check.name for check in checked.undecided) or "nothing",
            "solver": checked.solver,
        }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*ARRAYS, *TABLES]
    usual = [name for name in every if name != "imdb"]
    parser.add_argument("--only", nargs="+", default=usual, choices=every)
    parser.add_argument("--victim", nargs="+", default=list(VICTIMS), choices=VICTIMS)
    parser.add_argument("--rows", type=int, help="of every table, at most; all by default")
    parser.add_argument("--results", help="folder for the tables; default benchmarks/results")
    options = parser.parse_args(arguments)
    print(environment.headline(), flush=True)
    warnings.simplefilter("ignore")  # what a warning would say of an attack, the table says
    table = []
    for name in options.only:
        for victim in options.victim:
            for row in rows_of(name, victim, options.rows):
                table.append(row)
                print("  " + ", ".join(f"{k}: {report.text(v)}" for k, v in row.items()), flush=True)
    done = [row for row in table if "solver" in row]
    slow = sum(row["of the aim"] > 1.0 for row in done)
    open_ = sum(row["undecided"] != "nothing" for row in done)
    notes = [
        f"{len(done)} results: no claim failed, {open_} have one that was not decided, {slow} took longer than five "
        "times the attack and 2 s."
    ]
    print(report.markdown(table), *notes, sep="\n\n")
    shown = " ".join(["python benchmarks/verify_times.py", *(sys.argv[1:] if arguments is None else arguments)])
    report.write("verify", shown, {"verify beside the attack": table}, notes, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

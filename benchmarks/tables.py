"""Raw records end to end: Adult's table through a scikit-learn Pipeline, attacked, and poisoned with records.

    python benchmarks/tables.py

The victim is LinearSVC(loss="hinge") behind a ColumnTransformer that scales four columns of numbers and one-hot
encodes seven of categories; three columns are dropped. A target gets the ">50K" of one occupation wrong. Algorithm 1
and the minimum return DataFrames; of each, five records are printed. Every record is checked: it lies in the space of
records, the pipeline maps it to exactly the point that the attack used, and decoding that point gives it back. `verify`
retrains, and retrains once more with the preprocessing refitted to the poisoned table.
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import sys
import time

import datasets
import numpy as np
import report
import scipy.sparse as sp
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from mtpfast import MinimumPoisoner, ModelTargetedPoisoner, make_target

NUMBERS = ["age", "capital-gain", "capital-loss", "hours-per-week"]
WORDS = ["workclass", "education-num", "marital-status", "occupation", "relationship", "race", "sex"]
OCCUPATIONS = ("Craft-repair", "Sales", "Tech-support")
SCALERS = {"min-max": MinMaxScaler(), "standard": StandardScaler()}


def pipeline(scaler, C):
    first = make_column_transformer(
        (scaler, NUMBERS), (OneHotEncoder(drop="if_binary"), WORDS), verbose_feature_names_out=False
    )
    return make_pipeline(first, LinearSVC(loss="hinge", C=C))


def judge(name, attacker, result, table, income, seconds):
    """A line of the table; what a record may not be is an error."""
    from mtpfast.preprocessing.tables import RecordCodec  # not in the earlier builds that against.py may load

    codec = RecordCodec(attacker.preprocessing_, table)
    records = result.records
    points = result.points.toarray() if sp.issparse(result.points) else result.points
    if not (result.X_poison.dtypes.equals(table.dtypes) and list(result.X_poison) == list(table)):
        raise SystemExit(f"{name}: the records have other columns or dtypes than the table")
    if not codec.space.contains(codec.encode(records)).all():
        raise SystemExit(f"{name}: {codec.space.why_not(codec.encode(records))}")
    if not np.array_equal(codec.encode(records), points):
        raise SystemExit(f"{name}: the pipeline maps the records to other points")
    if not codec.decode(points).equals(records):
        raise SystemExit(f"{name}: the points are not decoded to the records")
    checked = result.verify(table, income, refit_preprocessing=True)
    again = checked.refitted
    return {
        "victim, subpopulation": name,
        "method": type(attacker).__name__,
        "records": result.n_points,
        "distinct": len(records),
        "proved bound": checked.lower_bound,
        "distance": checked.distance,
        "D": checked.loss_difference,
        "seconds": round(seconds, 2),
        "distance, preprocessing refitted": again.distance,
        "D, refitted": again.loss_difference,
        "labels changed by refitting": again.changed,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--C", type=float, default=0.01, help="of LinearSVC (default: 0.01)")
    parser.add_argument("--tol", type=float, default=0.02, help="loss difference at which Algorithm 1 stops")
    parser.add_argument("--results", help="folder to write to (default: benchmarks/results)")
    options = parser.parse_args(argv)
    table, income = datasets.adult_table()
    rows, shown = [], []
    for kind, scaler in SCALERS.items():
        victim = pipeline(scaler, options.C)
        attack = ModelTargetedPoisoner.from_estimator(victim, tol=options.tol).fit(table, income)
        fewest = MinimumPoisoner.from_estimator(victim).fit(table, income)
        for occupation in OCCUPATIONS:
            mask = ((table["occupation"] == occupation) & (income == ">50K")).to_numpy()
            target = make_target(
                table,
                income,
                mask=mask,
                quantiles=[1.0],
                repeats=[1, 2, 3, 5],
                goal=0.9,
                loss="hinge",
                C=options.C,
                preprocessing=attack.preprocessing_,
            )
            name = f"{kind}, {occupation}: {mask.sum()} rows"
            for attacker in (attack, fewest):
                start = time.perf_counter()
                result = attacker.attack(target)
                seconds = time.perf_counter() - start
                rows.append(judge(name, attacker, result, table, income, seconds))
                print(report.markdown(rows[-1:]), flush=True)
                if (kind, occupation) == ("min-max", OCCUPATIONS[0]):
                    most = np.argsort(-result.counts, kind="stable")[:5]
                    five = result.records.iloc[most].assign(income=result.labels[most], times=result.counts[most])
                    shown.append((rows[-1]["method"], five[[*NUMBERS, *WORDS, "income", "times"]]))
                    print(five.to_string(index=False), flush=True)
    records = {f"Five records of {method}": five.to_dict("records") for method, five in shown}
    command = " ".join(["python benchmarks/tables.py", *(sys.argv[1:] if argv is None else argv)])
    report.write("tables", command, {"Adult, raw records": rows, **records}, folder=options.results)
    print(report.markdown(rows))
    print(environment.headline())


if __name__ == "__main__":
    main()

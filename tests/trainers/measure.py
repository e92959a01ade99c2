"""Measure the trainers that are installed here, into measured.json; docs/victims.md shows it.

python tests/trainers/measure.py
python tests/trainers/measure.py adult_ref.npz    # the effect of an attack on that table, printed
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from cases import CASES, scale_of, table, theta_of  # noqa: E402

from mtpfast import MinimumPoisoner, ModelTargetedPoisoner  # noqa: E402
from mtpfast.targets.models import binary_linear_model  # noqa: E402

MEASURED = Path(__file__).parent / "measured.json"
PAGE = ROOT / "docs" / "victims.md"
HEAD = """\
| trainer | version | minimises | default stop | tight | attack undone | refused, for example |
|---|---|---|---|---|---|---|
"""


def distances(case):
    """(default stop, tight, norm): l2 distances of (w, b) from our victim, on breast_cancer."""
    X, y = table()
    estimator, options, _ = case.make(True)
    ours = ModelTargetedPoisoner.from_estimator(estimator, **options).fit(X, y)
    theta = theta_of(ours)
    apart = [np.linalg.norm(binary_linear_model(case.make(tight)[2](X, y), 30) - theta) for tight in (False, True)]
    return (*(float(f"{each:.2g}") for each in apart), float(f"{np.linalg.norm(theta):.3g}"))


def effect(case, X=None, y=None, **target):
    """What the trainer's default stop undoes of a minimum attack made for it, points in the box of the data."""
    if X is None:
        X, y = table()
    estimator, options, train = case.make(False)
    attacker = MinimumPoisoner.from_estimator(estimator, **options).fit(X, y)
    made = attacker.make_target(**({"quantiles": [0.1, 0.2, 0.3, 0.4], "repeats": [1, 2, 5], "goal": 0.05} | target))
    result = attacker.attack(made)
    scale = np.append(scale_of(attacker), 1.0)
    aim, exact = np.append(made.coef_, made.intercept_) / scale, result.theta / scale
    rows, labels = np.vstack([X, np.asarray(result.X_poison)]), np.append(y, result.y_poison)
    own = binary_linear_model(train(rows, labels), X.shape[1], attacker.classes_)
    undone = np.linalg.norm(own - aim) - np.linalg.norm(exact - aim)
    right = y == attacker.classes_[1]
    accuracy = [float(np.mean((X @ model[:-1] + model[-1] > 0) == right)) for model in (exact, own)]
    return {
        "points": int(result.n_points),
        "bound": int(result.lower_bound),
        "undone": float(f"{undone / np.linalg.norm(theta_of(attacker) - aim):.2g}"),
        "accuracy_exact": round(accuracy[0], 4),
        "accuracy": round(accuracy[1], 4),
    }


def page_table(known):
    """The table of docs/victims.md."""
    lines = []
    for case in CASES:
        found = known[case.name]
        undone = "not measured" if "undone" not in found else f"{100 * found['undone']:.2g} %"
        stops = f"{found['default']:.2g} | {found['tight']:.2g}"
        refused = ", ".join(f"`{name}`" for name in case.refused) or "-"
        lines.append(f"| {case.name} | {found['version']} | {case.objective} | {stops} | {undone} | {refused} |\n")
    return HEAD + "".join(lines)


def on_adult(path):
    """The effect on a table as ``adult_ref.npz`` holds it: printed, row by row."""
    with np.load(path) as data:
        X, y = data["X_train"].astype(float), (data["y_train"] > 0).astype(int)
    for case in CASES:
        if case.is_there():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = effect(case, X, y, quantiles=[0.1], repeats=[1], goal=0)
                except ValueError as error:  # penalty weights for thirty features
                    found = {"error": str(error)[:100]}
            sys.stdout.write(f"{case.name:75} {json.dumps(found)}\n")
            sys.stdout.flush()


def main():
    if len(sys.argv) > 1:
        return on_adult(sys.argv[1])
    known = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    for case in CASES:
        if case.is_there():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                default, tight, norm = distances(case)
                known[case.name] = {"version": case.version, "default": default, "tight": tight, "norm": norm}
                known[case.name] |= effect(case)
            sys.stdout.write(f"{case.name:75} {default:9.2g} {tight:9.2g} {norm:6.3g}\n")
    known = {case.name: known[case.name] for case in CASES if case.name in known}
    MEASURED.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in known.items()) + "\n}\n")

    before, _, rest = PAGE.read_text().partition(HEAD)
    PAGE.write_text(before + page_table(known) + rest[rest.index("\n\n") + 1 :])


if __name__ == "__main__":
    main()

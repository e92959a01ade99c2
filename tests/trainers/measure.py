"""Measure the trainers that are installed here, into measured.json; docs/victims.md shows it.

python tests/trainers/measure.py
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from cases import CASES, table  # noqa: E402

from mtpfast import FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner  # noqa: E402
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
    theta = np.append(ours.coef_, ours.intercept_)
    apart = [np.linalg.norm(binary_linear_model(case.make(tight)[2](X, y), 30) - theta) for tight in (False, True)]
    return (*(float(f"{each:.2g}") for each in apart), float(f"{np.linalg.norm(theta):.3g}"))


def effect(case):
    """What the trainer's default stop undoes of a minimum attack made for it, points inside [0, 1]."""
    X, y = table()
    estimator, options, train = case.make(False)
    attacker = MinimumPoisoner.from_estimator(estimator, feasible_set=FeatureSpace(0.0, 1.0), **options).fit(X, y)
    target = attacker.make_target(quantiles=[0.1, 0.2, 0.3, 0.4], repeats=[1, 2, 5], goal=0.05)
    result = attacker.attack(target)
    aim = np.append(target.coef_, target.intercept_)
    rows, labels = np.vstack([X, np.asarray(result.X_poison)]), np.append(y, result.y_poison)
    own = binary_linear_model(train(rows, labels), 30, np.array([0, 1]))
    apart, exact = np.linalg.norm(own - aim), np.linalg.norm(result.theta - aim)
    clean = np.linalg.norm(np.append(attacker.coef_, attacker.intercept_) - aim)
    accuracy = [float(np.mean((X @ model[:-1] + model[-1] > 0) == (y == 1))) for model in (result.theta, own)]
    return {
        "points": int(result.n_points),
        "bound": int(result.lower_bound),
        "undone": float(f"{(apart - exact) / clean:.2g}"),
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


def main():
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

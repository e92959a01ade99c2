"""Measure the trainers that are installed here, into measured.json, of which docs/victims.md has the table.

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

from mtpfast import ModelTargetedPoisoner  # noqa: E402
from mtpfast.targets.models import binary_linear_model  # noqa: E402

MEASURED = Path(__file__).parent / "measured.json"


def distances(case):
    """(default stop, tight, norm): l2 distances of (w, b) from our victim, on breast_cancer."""
    X, y = table()
    estimator, options, _ = case.make(True)
    ours = ModelTargetedPoisoner.from_estimator(estimator, **options).fit(X, y)
    theta = np.append(ours.coef_, ours.intercept_)
    apart = [np.linalg.norm(binary_linear_model(case.make(tight)[2](X, y), 30) - theta) for tight in (False, True)]
    return (*(float(f"{each:.2g}") for each in apart), float(f"{np.linalg.norm(theta):.3g}"))


def main():
    known = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    for case in CASES:
        if case.is_there():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                default, tight, norm = distances(case)
            known[case.name] = {"version": case.version, "default": default, "tight": tight, "norm": norm}
            sys.stdout.write(f"{case.name:75} {default:9.2g} {tight:9.2g} {norm:6.3g}\n")
    MEASURED.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in known.items()) + "\n}\n")


if __name__ == "__main__":
    main()

"""Whether Algorithm 1 takes the same way on every machine: the same attack under several kernels of OpenBLAS and NumPy.

    python benchmarks/kernels.py                            # every case under every kernel, into results/kernels.md
    python benchmarks/kernels.py --only digits --loss hinge # some of them, printed only
    python benchmarks/kernels.py --points 100               # so many points of each case, printed only

Each attack runs in a process of its own, told by OPENBLAS_CORETYPE which kernel to take for the routines of linear
algebra, or by NPY_DISABLE_CPU_FEATURES to do without AVX512. Target and attack are made from scratch there: alpha
convention, penalised intercept, box [0, 1], the rows below the 20 % quantile of the margin flipped five times each,
D <= 0.02. The processor must have what a kernel asks for.
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import datasets
import numpy as np
import reference as ref
from refit import flip_target

from mtpfast import FeatureSpace
from mtpfast.attacks.online import poison

#: name: (rows, alpha by loss, the most points)
CASES = {
    "digits": (ref.digits_1_vs_7, {"hinge": 0.09, "squared_hinge": 0.09, "log_loss": 0.09}, None),
    "breast_cancer": (ref.breast_cancer, {"hinge": 0.01, "squared_hinge": 0.01, "log_loss": 0.01}, None),
    "adult": (lambda: datasets.load("adult")[1:3], {"hinge": 0.09, "squared_hinge": 0.09, "log_loss": 0.09}, 500),
}
STOP = 0.02
FIRST = 100  # steps over which D is compared


def without_avx512() -> dict:
    """What makes NumPy do without AVX512, of the features that it would use here."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    wide = [name for name in __cpu_dispatch__ if ("AVX512" in name or name == "X86_V4") and __cpu_features__[name]]
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(wide)} if wide else {}


KERNELS = {
    **{name: {"OPENBLAS_CORETYPE": name} for name in ("Haswell", "Zen", "SkylakeX", "Nehalem")},
    "no AVX512 in NumPy": without_avx512(),
}


def run_here(data, loss, points, out):
    """One attack under the kernel of this process; its way, to a file."""
    rows, alphas, most = CASES[data]
    X, y = rows()
    most = points if most is None or (points is not None and points < most) else most
    target = flip_target(loss, X, y, 0.2, 5, alpha=alphas[loss])
    res = poison(
        X, y, (target[:-1], target[-1]), loss=loss, alpha=alphas[loss], feasible_set=FeatureSpace(0.0, 1.0), tol=STOP,
        max_points=most,
    )  # fmt: skip
    np.savez(
        out, points=res.X_poison, labels=res.y_poison, D=res.history["loss_difference"], target=target, path=res.path,
        bound=res.lower_bound, reached=res.status == "reached",
    )  # fmt: skip


def run(data, loss, kernel, points):
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "way.npz"
        command = [sys.executable, __file__, "--worker", data, loss, "-" if points is None else str(points), str(out)]
        subprocess.run(command, env={**os.environ, **KERNELS[kernel]}, check=True)
        with np.load(out) as way:
            return dict(way)


def compare(way, first):
    """(largest difference of a point, of D over the first steps, of a model), each over what both have."""
    n = min(len(way["points"]), len(first["points"]))
    rows = [np.column_stack([w["points"][:n], w["labels"][:n]]) for w in (way, first)]
    steps = min(n, FIRST) + 1
    return (
        float(np.max(np.abs(rows[0] - rows[1]), initial=0.0)),
        float(np.max(np.abs(way["D"][:steps] - first["D"][:steps]))),
        float(np.max(np.abs(way["path"][: n + 1] - first["path"][: n + 1]))),
    )


def table(only, losses, points):
    yield (
        "| data | loss | kernel | points to D <= 0.02 | bound | points differ by | D differs by, 100 steps "
        "| models differ by |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for data, loss in [(name, loss) for name in CASES for loss in CASES[name][1] if name in only and loss in losses]:
        first = None
        for kernel in KERNELS:
            way = run(data, loss, kernel, points)
            first = way if first is None else first
            point, D, model = compare(way, first)
            size = f"{len(way['points']):,}" if way["reached"] else f"{len(way['points']):,} so far"
            yield f"| {data} | {loss} | {kernel} | {size} | {way['bound']} | {point:.1e} | {D:.1e} | {model:.1e} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--loss", nargs="+", choices=list(ref.LOSSES), default=list(ref.LOSSES))
    parser.add_argument("--points", type=int)
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        data, loss, points, out = args.worker
        run_here(data, loss, None if points == "-" else int(points), out)
        return
    lines = []
    for line in table(args.only, args.loss, args.points):
        print(line, flush=True)
        lines.append(line)
    if args.points is None and len(args.only) == len(CASES) and len(args.loss) == len(ref.LOSSES):
        title = (
            "# Algorithm 1 under several kernels\n\n"
            "`python benchmarks/kernels.py`: the largest differences from the first kernel of each case, of a point "
            "(and its label), of D over the first 100 steps, and of a model.\n\n"
        )
        path = environment.HERE / "results" / "kernels.md"
        path.write_text(title + environment.headline() + "\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

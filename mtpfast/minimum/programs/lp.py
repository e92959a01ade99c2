"""The convex programs behind the exact minimum, for HiGHS.

The points of one label merge into one at no extra cost (Jensen; see :mod:`mtpfast.minimum.minimum`), so a
poisoning of a convex set is two points with effective weights ``E_y`` and counts ``N_y``. With
``r = G + R theta (a+ N+ + a- N- + a0 N0)`` the program is

    min  N+ + N- + N0    s.t.   E+ x~+ - E- x~-  =  r + (rows on the margin),
                                x_y in the hull of label y,     w_y N_y >= E_y h(m_y),  h = 1 / s,

``m_y`` the margin of the point of label y under the target, ``w_y`` what one weighs (its class weight), ``a_y`` what it
adds to k, ``N0`` the points of zero loss, which only weigh in through the penalty (``alpha`` convention). Nothing
here depends on the number of clean rows.

The hull of a region is its box, and for every group of columns of which one (or at most one) is on, with
``zeta = E (x - off)``:  ``sum_j zeta_j / (on_j - off_j) = E`` (or ``<= E``). Where records must be whole its
value is a bound: the merged point is a mean of records, and to find the records is for
:mod:`mtpfast.minimum.whole.records`.

Every program returns the multipliers of the stationarity rows as a direction ``v``: the proof. What
``v`` proves is for :mod:`mtpfast.proofs.certificate` to say.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.question import Setting

__all__ = ["count_columns", "hull_rows", "margin_rows", "mean_points", "stationarity_rows", "widen"]


ROUNDING = 4.0 * np.finfo(float).eps  # of a margin, in units of its largest terms


def hull_rows(setting: Setting):
    """``(A_ub, A_eq)`` over ``(zeta+, zeta-, E+, E-)``: with ``A_ub . <= 0`` and ``A_eq . = 0`` the points lie in
    their hulls."""
    d = len(setting.theta) - 1
    width = np.zeros((2 * d, 2))
    plain = np.ones(2 * d, dtype=bool)
    group_rows = {True: [], False: []}
    for y, region in enumerate(setting.both):
        width[y * d : (y + 1) * d, y] = region.lower - region.upper
        for group in region.groups:
            plain[y * d + group.columns] = False
            row = np.zeros(2 * d + 2)
            row[y * d + group.columns] = 1.0 / (group.on - group.off)
            row[2 * d + y] = -1.0
            group_rows[group.exactly].append(sp.csr_matrix(row))
        for coefficients, limit in region.planes:
            row = np.zeros(2 * d + 2)
            row[y * d : (y + 1) * d] = coefficients
            row[2 * d + y] = float(coefficients @ region.lower) - limit
            group_rows[False].append(sp.csr_matrix(row))
    box = sp.hstack([sp.identity(2 * d, format="csr")[plain], sp.csr_matrix(width[plain])])
    A_ub = sp.vstack([box, *group_rows[False]])
    A_eq = sp.vstack(group_rows[True]) if group_rows[True] else sp.csr_matrix((0, 2 * d + 2))
    return A_ub.tocsr(), A_eq.tocsr()


def mean_points(setting, columns, d):
    """The two points of a solution; None for a label without weight."""
    means = []
    for y, region in enumerate(setting.both):
        weight = columns[2 * d + y]
        means.append(region.lower + columns[y * d : (y + 1) * d] / weight if weight > 1e-9 else None)
    return tuple(means)


def stationarity_rows(setting: Setting):
    """``-E+ x~+ + E- x~-`` over ``(zeta+, zeta-, E+, E-)``: (d + 1) rows, d without an intercept."""
    d = len(setting.theta) - 1
    plus, minus = setting.both
    head = np.zeros((d + 1, 2))
    head[:d, 0], head[:d, 1] = -plus.lower, minus.lower
    head[d, 0], head[d, 1] = -1.0, 1.0
    eye = sp.identity(d, format="csr")
    coordinates = sp.vstack([sp.hstack([-eye, eye]), sp.csr_matrix((1, 2 * d))])
    return sp.hstack([coordinates, sp.csr_matrix(head)]).tocsr()[: d + int(setting.objective.fit_intercept)]


def margin_rows(setting: Setting, limits=(0.0, 0.0)):
    """``E_y (m_y - limit_y)`` over ``(zeta+, zeta-, E+, E-)``: (2, 2 d + 2).

    What moves no margin by more than its own rounding is 0: a program whose row holds nothing but the rounding of a
    target that is constant would ask for the sign of that rounding.
    """
    w, b = setting.theta[:-1], setting.theta[-1]
    d = len(w)
    rows = np.zeros((2, 2 * d + 2))
    for y, (sign, region, limit) in enumerate(zip((1.0, -1.0), setting.both, limits, strict=True)):
        width = np.where(w == 0.0, 0.0, region.upper - region.lower)
        rounding = ROUNDING * (float(np.abs(w) @ np.abs(region.lower)) + abs(b))
        at_lower = sign * (w @ region.lower + b) - limit
        rows[y, y * d : (y + 1) * d] = np.where(np.abs(w) * width > rounding, sign * w, 0.0)
        rows[y, 2 * d + y] = at_lower if abs(at_lower) > rounding else 0.0
    return rows


def count_columns(pulls, start, n):
    """``pulls`` in the three columns from ``start``, those of the counts: n columns, zero elsewhere."""
    rows, after = pulls.shape[0], n - start - 3
    return sp.hstack([sp.csr_matrix((rows, start)), sp.csr_matrix(pulls), sp.csr_matrix((rows, after))]).tocsr()


def widen(A, n):
    """A with zero columns appended, n in all."""
    return sp.hstack([A, sp.csr_matrix((A.shape[0], n - A.shape[1]))]).tocsr()

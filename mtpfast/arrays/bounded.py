"""Least squares with every unknown between 0 and 1."""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear

__all__ = ["least_squares_in_unit"]


#: scipy's method takes the square of this many unknowns in memory, and their cube in time.
FEW = 500
STEPS, FIRM = 200, 1e-13  # of Newton's method; the ridge, as a share of A's squares


def least_squares_in_unit(A, b, method="trf"):
    r"""The s that minimises ``|A s - b|^2`` over ``0 <= s <= 1``, for dense A of shape (d, n).

    Of many unknowns nearly the least: of ``|A s - b|^2 / 2 + eps |s - 1/2|^2 / 2``, by Newton's method for its dual

    .. math:: \min_u \tfrac{\epsilon}{2} |u|^2 - b \cdot u + \sum_i H(a_i \cdot u), \qquad
              H'(v) = \operatorname{clip}(1/2 + v, 0, 1),

    which has d unknowns: ``s = clip(1/2 + A' u, 0, 1)``. O(n d^2) a step. ``method``: scipy's, of few unknowns: "trf"
    (most of them inside) or "bvls" (a vertex).
    """
    d, n = A.shape
    if n <= FEW:
        return lsq_linear(A, b, (0.0, 1.0), method=method, tol=1e-12).x if n else np.empty(0)
    A = np.ascontiguousarray(A)
    squares = np.einsum("ij,ij->i", A, A)
    eps = FIRM * max(float(squares.max()), 1e-300)
    u, v = np.zeros(d), np.zeros(n)
    s = np.full(n, 0.5)
    rest = b - A @ s
    for _ in range(STEPS):
        inside = A[:, (s > 0.0) & (s < 1.0)]
        H = inside @ inside.T
        H[np.diag_indices(d)] += eps
        unit = 1.0 / np.sqrt(np.diagonal(H))
        H *= unit * unit[:, None]
        H[np.diag_indices(d)] += 1e-14
        step = unit * np.linalg.solve(H, unit * rest)
        along, slope = A.T @ step, float(rest @ step)
        if not slope > 0.0:
            break
        low, high, t = 0.0, np.inf, 1.0
        for _ in range(50):  # the derivative along the step falls to 0
            s = np.clip(0.5 + v + t * along, 0.0, 1.0)
            at = float(b @ step) - float(s @ along) - eps * float((u + t * step) @ step)
            if abs(at) <= 0.1 * slope:
                break
            low, high = (t, high) if at > 0.0 else (low, t)
            t = 2.0 * t if high == np.inf else 0.5 * (low + high)
        u, v = u + t * step, v + t * along
        s = np.clip(0.5 + v, 0.0, 1.0)
        new = b - A @ s - eps * u
        if float(new @ new) <= (1e-15 * (float(np.linalg.norm(b)) + float(np.sqrt(squares.max())))) ** 2:
            break
        rest = new
    return s

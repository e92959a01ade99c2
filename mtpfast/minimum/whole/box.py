"""From effective weights to whole points that hit the target.

A solution of the programs says how much effective weight ``E_y = sum s`` each label needs and where;
training wants whole copies of points in the boxes (for whole valid records see :mod:`mtpfast.minimum.whole.records`).
With the
total number of points fixed, the right side of the stationarity condition

    E+ x~+ - E- x~-  =  r,        r = G + (rows on the margin) + N a R theta                 (1)

is known, and everything here solves (1) exactly:

* :func:`pair` places one point per label for given weights and margins, in closed form;
* :func:`balance` finds the margins of ``n+`` and ``n-`` copies for a smooth loss: ``E_y = n_y s(m_y)``, the
  intercept row ``E+ - E- = r_b`` and the product of (1) with theta leave one equation;
* :func:`split` spreads the copies of one point over two margins where more copies are to be spent
  than one margin allows (``n > E h(m)``): the effective weight and the product with x stay the same.
"""

from __future__ import annotations

import math

import numpy as np

from mtpfast.question import Setting

__all__ = ["balance", "pair", "split"]


def ends(setting: Setting, r, E, F):
    """The interval of every coordinate of ``z+ = E x+``, given ``z- = z+ - r`` and both in their boxes."""
    r = r[:-1]
    plus, minus = setting.both
    low = np.maximum(E * plus.lower, r + F * minus.lower)
    high = np.minimum(E * plus.upper, r + F * minus.upper)
    return low, high


def pair(setting: Setting, r, E, F, M=None, slack=1e-9):
    """``(x+, x-)`` with ``E x+ - F x- = r``, each in the box of its label, or None.

    Parameters
    ----------
    r : ndarray of shape (d + 1,)
    E, F : float
        Effective weights of the labels + and -.
    M : float, optional
        Fixes the margin: ``E m+ = M``. Without it, the hinge: the middle of what leaves both margins
        at most 1.
    slack : float
        Relative violation of the box that is forgiven (and removed by clipping).

    Complexity: O(d). ``z+`` runs along the segment from the least to the largest margin.
    """
    w, b = setting.theta[:-1], setting.theta[-1]
    room = slack * max(1.0, E, F, float(np.max(np.abs(r))))
    low, high = ends(setting, r, E, F)
    if np.any(low > high + room):
        return None
    low, high = np.minimum(low, high), np.maximum(low, high)
    near, far = np.where(w > 0, low, high), np.where(w > 0, high, low)
    least, most = float(w @ near) + b * E, float(w @ far) + b * E
    if M is None:
        total = float(setting.theta @ r)
        bottom, top = max(least, total - F), min(most, E)
        if bottom > top + room:
            return None
        M = 0.5 * (bottom + top)
    elif not least - room <= M <= most + room:
        return None
    share = min(1.0, max(0.0, (M - least) / (most - least))) if most > least else 0.0
    z = near + share * (far - near)
    plus, minus = setting.both
    x_plus = np.clip(z / E if E > 0 else plus.lower, plus.lower, plus.upper)
    x_minus = np.clip((z - r[:-1]) / F if F > 0 else minus.lower, minus.lower, minus.upper)
    return x_plus, x_minus


def balance(setting: Setting, r, n_plus, n_minus):
    """The effective weights ``(E+, E-)`` of whole counts that satisfy the intercept row and the product of (1)
    with theta: every root (none, one or two; without an intercept the best of a family).

    ``E+ m(E+ / n+) + E- m(E- / n-)`` is concave in the weights, ``m`` the inverse of ``s``.
    """
    loss = setting.objective.loss
    total = float(setting.theta @ r)
    s_top = loss.lipschitz

    def product(n, E):
        return E * loss.margin_of(E / n) if E > 0.0 else 0.0

    if not setting.objective.fit_intercept:
        # One equation for two weights: put both points at one margin, or near it.
        return _one_margin(loss, total, n_plus, n_minus)
    shift = float(r[-1])
    low = max(0.0, -shift)
    high = min(n_minus * s_top, n_plus * s_top - shift)
    if math.isinf(high):  # s is bounded by the least margin in the box
        high = min(
            n_minus * loss.pull(setting.margin_range(-1.0)[0]),
            n_plus * loss.pull(setting.margin_range(1.0)[0]) - shift,
        )
    if not low < high:
        return []
    low, high = low + 1e-14 * (high - low), high - 1e-14 * (high - low)

    def excess(F):
        return product(n_plus, F + shift) + product(n_minus, F) - total

    left, right = low, high  # the top of the concave function, by golden section
    ratio = 0.5 * (math.sqrt(5.0) - 1.0)
    for _ in range(80):
        a, c = right - ratio * (right - left), left + ratio * (right - left)
        if excess(a) < excess(c):
            left = a
        else:
            right = c
    peak = 0.5 * (left + right)
    if excess(peak) < 0.0:
        return []
    roots = []
    for end in (high, low):
        if excess(end) > 0.0:
            continue
        outside, inside = end, peak
        for _ in range(200):
            mid = 0.5 * (outside + inside)
            if mid in (outside, inside):
                break
            if excess(mid) < 0.0:
                outside = mid
            else:
                inside = mid
        roots.append((inside + shift, inside))
    return roots


def _one_margin(loss, total, n_plus, n_minus):
    """Weights with both points at the margin m that solves ``(n+ + n-) s(m) m = total``."""
    n = n_plus + n_minus
    top = min(4.0, loss.lipschitz)
    grid = np.linspace(1e-6, top * (1 - 1e-9), 400)
    value = np.array([n * s * loss.margin_of(s) - total for s in grid])
    weights = []
    for i in np.flatnonzero(np.diff(np.sign(value)) != 0):
        a, c = grid[i], grid[i + 1]
        fa = value[i]
        for _ in range(100):
            mid = 0.5 * (a + c)
            f = n * mid * loss.margin_of(mid) - total
            a, c, fa = (mid, c, f) if (f > 0) == (fa > 0) else (a, mid, fa)
        weights.append((n_plus * 0.5 * (a + c), n_minus * 0.5 * (a + c)))
    return weights[::-1]


def split(setting: Setting, sign, x, E, n):
    """``n`` copies around x with effective weight E and centre x: a list of (point, label, count), or None.

    One point where ``n s(m) = E``; else two, moved apart along a direction that has room on both sides.
    ``n s(m) > E`` is needed: copies at two margins weigh less than at their mean, never more (Jensen).
    """
    loss = setting.objective.loss
    w = sign * setting.theta[:-1]
    margin = float(w @ x) + sign * setting.theta[-1]
    excess = n * loss.pull(margin) - E
    if abs(excess) <= 1e-12 * max(1.0, E):
        return [(x, sign, n)]
    if excess < 0.0 or n < 2:
        return None
    # Margin-raising and margin-lowering room of every coordinate.
    lower, upper = setting.region(sign).lower, setting.region(sign).upper
    above = np.where(w > 0, upper - x, x - lower)
    below = np.where(w > 0, x - lower, upper - x)
    for up, down in ((1, 1), (8, 1), (1, 8), (64, 1), (1, 64)):
        step = np.sign(w) * np.minimum(above / up, below / down)
        rise = float(w @ step)
        if rise <= 1e-9:
            continue
        for n_low in dict.fromkeys((n // 2, n - 1, 1, (7 * n) // 8, n // 8)):
            if not 1 <= n_low < n:
                continue
            found = _spread(loss, margin, rise, E, n_low, n - n_low, up, down)
            if found is not None:
                a, c = found
                low, high = np.clip([x - c * step, x + a * step], lower, upper)
                return [(low, sign, n_low), (high, sign, n - n_low)]
    return None


def _spread(loss, margin, rise, E, n_low, n_high, up, down):
    """``(a, c)`` such that ``n_low`` copies at ``margin - c rise`` and ``n_high`` at ``margin + a rise`` have the
    effective weight E and the old centre, with ``a <= up`` and ``c <= down``; or None."""

    def back(a):
        """c that keeps the centre; what it balances, ``n_low s(margin - c rise) c``, rises with c."""
        need = n_high * loss.pull(margin + a * rise) * a
        left, right = 0.0, float(down)
        if n_low * loss.pull(margin - right * rise) * right < need:
            return None
        for _ in range(60):
            mid = 0.5 * (left + right)
            left, right = (mid, right) if n_low * loss.pull(margin - mid * rise) * mid < need else (left, mid)
        return 0.5 * (left + right)

    def weight(a):
        c = back(a)
        if c is None:
            return None
        low, high = loss.pull(margin - c * rise), loss.pull(margin + a * rise)
        return n_low * low + n_high * high

    previous = 0.0
    for a in up * np.linspace(0.0, 1.0, 17)[1:] ** 2:
        value = weight(float(a))
        if value is None:
            return None
        if value <= E:
            left, right = previous, float(a)
            for _ in range(60):
                mid = 0.5 * (left + right)
                here = weight(mid)
                left, right = (mid, right) if here is not None and here > E else (left, mid)
            c = back(right)
            return None if c is None else (right, c)
        previous = float(a)
    return None

"""How far one point can push along a direction: the maximum over the feasible set, rounded up."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.rounding import UNIT, gamma
from mtpfast.losses.objective import Objective

from .clean_pass import slope_above, slope_below

__all__ = ["poison_maximum", "pool_gains"]


MOST_PIECES = 2**14  # intervals of the margin, of a loss of which no more is known than that s falls
SMALL_DRIFT = 1e-3  # of the margins of poison in a ball: up to here one line bounds them well enough


def poison_maximum(v, theta, objective: Objective, feasible_set, tol=0.0, *, margin_tol=0.0):
    """``max_F v.g`` over one poisoning point, as (value, error): value + error is an upper bound.

    Per label, ``v.g`` is the class weight times ``s p`` and what the point adds to the penalty.
    Space: per label the point only enters through ``p = -y v.x~`` and its margin ``m``; over the hull of the
    label's region the upper frontier of (m, p) is concave, and ``1 / s`` convex, so one line separates the
    frontier from the level curve of ``s p`` at the maximum. The line is found on the sorted frontier; the bound
    is then the maximum of one linear function over the hull, rigorous whatever line was found. Pool: a scan.
    """
    d = len(theta) - 1
    parts = []
    if not feasible_set.is_finite:
        for sign, region in feasible_set.regions(d).items():
            penalty, error = _penalty_of_point(sign, v, theta, objective, tol)
            push = _hull_maximum(sign, region, v, theta, objective, tol, margin_tol, penalty > -error)
            parts.append(_add(objective.weight_of(sign), push, penalty, error))
    else:
        for sign, pushes in _pool_pushes(v, theta, objective, feasible_set, tol, margin_tol):
            penalty = _penalty_of_point(sign, v, theta, objective, tol)
            parts.append(_add(objective.weight_of(sign), (float(np.max(pushes)), 0.0), *penalty))
    return max(parts, key=sum)


def _add(weight, push, penalty, error):
    """``weight * push + penalty`` with all errors, ``push`` a pair (value, error)."""
    value, push_error = push
    scaled = weight * value
    total = penalty + scaled
    product = 0.0 if weight == 1.0 else UNIT * abs(scaled)
    return total, (error + weight * push_error + product + 2 * UNIT * abs(total)) * (1.0 + 4 * UNIT)


def _penalty_of_point(sign, v, theta, objective, tol):
    """``a v.R theta``, what a point of that label adds to ``v.g`` through the penalty (its largest in a ball), and
    its error."""
    d = len(theta) - 1
    a = objective.k_of_point(sign)
    Rv = objective.R(d) * v
    drift = a * tol * float(np.linalg.norm(Rv))
    error = gamma(d + 13) * (a * float(np.abs(Rv) @ np.abs(theta)) + drift) * (1.0 + gamma(2 * d))
    return a * float(Rv @ theta) + drift, error


def pool_gains(v, theta, objective, pool, tol, margin_tol):
    """An upper bound of ``v.g`` for every candidate and label that it may carry."""
    parts = []
    for sign, pushes in _pool_pushes(v, theta, objective, pool, tol, margin_tol):
        penalty, error = _penalty_of_point(sign, v, theta, objective, tol)
        scaled = objective.weight_of(sign) * pushes
        total = penalty + scaled
        parts.append(total + (error + UNIT * np.abs(scaled) + 4 * UNIT * np.abs(total)) * (1.0 + 4 * UNIT))
    return np.concatenate(parts)


def _pool_pushes(v, theta, objective, pool, tol, margin_tol):
    """Per label, as pairs (label, array), an upper bound of ``s p`` for every candidate that may carry it."""
    loss, w, b = objective.loss, theta[:-1], theta[-1]
    one = objective.one
    X, signs = pool.X, pool.signs()
    d = X.shape[1]
    sparse = sp.issparse(X)
    size = abs(X)
    q, m = X @ v[:-1] + one * v[-1], X @ w + b
    q_error = gamma(d + 4) * (size @ np.abs(v[:-1]) + one * abs(v[-1]))
    reach = gamma(d + 4) * (size @ np.abs(w) + abs(b))
    if tol > 0.0:
        squares = X.multiply(X).sum(axis=1) if sparse else np.einsum("ij,ij->i", X, X)
        reach = reach + tol * np.sqrt(np.asarray(squares).ravel() + one) * (1.0 + gamma(d + 6))
    if loss.kinked:
        reach = reach + margin_tol
    parts = []
    for sign in (1.0, -1.0):
        allowed = slice(None) if signs is None else signs == sign
        p, p_error, margin, r = (z[allowed] for z in (-sign * q, q_error, sign * m, reach))
        if len(p) == 0:
            continue
        top = p + p_error
        r = r + 2 * UNIT * np.abs(margin)
        s = np.where(top > 0.0, slope_above(loss, margin - r), slope_below(loss, margin + r))
        push = s * top
        parts.append((sign, push + 4 * UNIT * np.abs(push)))
    return parts


def _hull_maximum(sign, region, v, theta, objective, tol, margin_tol, sharp):
    """The largest ``s p`` over the hull of one label's region, as (value, error).

    ``sharp`` asks for the exact value where it is negative; otherwise 0 will do there.
    """
    loss, one = objective.loss, objective.one
    P, p0 = -sign * v[:-1], -sign * one * v[-1]
    A, a0 = sign * theta[:-1], sign * theta[-1]
    beside = margin_tol if loss.kinked else 0.0  # how far from the kink a point may lie and count as on it
    shift, lines = beside, []
    if tol > 0.0:
        # |x~| <= sqrt(q(x)) <= (q0 + q(x)) / (2 sqrt(q0)), with the linear
        # q(x) = one + sum (l + u) x - l u, which is at least |x~|^2 in the box around the hull.
        lower, upper = region.lower, region.upper
        slope, level = lower + upper, one - float(lower @ upper)
        most, error = region.linear_maximum(slope, level)
        drift = tol * math.sqrt(max(0.0, most + error)) * (1.0 + 8 * UNIT)  # of any point's margin, in the whole ball
        shift += drift
        if drift > SMALL_DRIFT:
            least = -region.linear_maximum(-slope, -level)[0]
            for q0 in np.geomspace(max(least, 1e-3 * most, 1e-12), max(most, 1e-12), 9):
                c = 0.5 * tol / math.sqrt(q0)
                size = abs(a0) + beside + c * (q0 + one + float(np.abs(lower) @ np.abs(upper)))
                lines.append((A - c * slope, a0 - beside - c * (q0 + level), np.abs(A) + c * np.abs(slope), size))
    # Every line bounds the margins from below; the first, which is shifted alone, from above too.
    parts = [_separate(loss, region, P, p0, A, a0 - shift, np.abs(A), abs(a0) + shift, 2.0 * shift, sharp)]
    parts += [_separate(loss, region, P, p0, *line, math.inf, False) for line in lines]
    return min(parts, key=sum)


def _separate(loss, region, P, p0, A, a0, A_size, a0_size, wide, sharp):
    """Upper bound of ``s p(x)`` over the hull, with ``p(x) = P.x + p0`` and ``s`` at any margin between
    ``m(x) = A.x + a0`` and ``m(x) + wide``."""
    P_size = np.abs(P)
    m_low, m_low_error = region.linear_maximum(-A, -a0, A_size, a0_size)
    m_low = -m_low - m_low_error
    m_high = sum(region.linear_maximum(A, a0, A_size, a0_size))
    if loss.kinked:
        if m_low > 1.0:
            return 0.0, 0.0  # every point has zero loss
        slope = 0.0
        if m_high > 1.0:
            m, _, slopes = region.frontier(A, a0, P, p0, lambda m, p, slope: m < 1.0)
            edge = np.searchsorted(m, 1.0) - 1  # the edge that holds margin 1
            slope = max(0.0, float(slopes[min(max(edge, 0), len(slopes) - 1)])) if len(slopes) else 0.0
        best, error = region.linear_maximum(
            P - slope * A,
            p0 - slope * a0 + slope,
            P_size + slope * A_size,
            abs(p0) + slope * (a0_size + 1),
        )
        return (0.0, 0.0) if m_high + wide >= 1.0 and best + error < 0.0 else (best, error)

    def uphill(m, p, slope):
        """Whether ``s p`` still rises along the frontier, ``s = 1 / h``: by a tangent of h."""
        constant, kappa = loss.tangent(m)
        return slope * (constant + kappa * m) > kappa * p

    m, p, slopes = region.frontier(A, a0, P, p0, None if math.isinf(loss.tangent_units) else uphill)
    if np.max(p) <= 0.0 and not sharp:
        best, error = region.linear_maximum(P, p0, P_size, abs(p0))
        most = max(0.0, best + error)
        return 0.0, most * float(slope_above(loss, m_low))
    if np.max(p) <= 0.0 or math.isinf(loss.tangent_units):
        return _subdivide(loss, region, (m, p, slopes), P, p0, A, a0, A_size, a0_size, m_low, m_high, wide)
    best, at = _best_on_frontier(loss, m, p, slopes)
    if best <= 0.0:
        return _subdivide(loss, region, (m, p, slopes), P, p0, A, a0, A_size, a0_size, m_low, m_high, wide)
    # A tangent of h = 1/s with slope kappa: h(m) >= constant + kappa m, wherever it is taken.
    constant, kappa = loss.tangent(at)
    doubt = loss.tangent_units * UNIT * (abs(constant + kappa * at) + kappa * (1.0 + abs(at)))
    slope = best * kappa
    above, error = region.linear_maximum(
        P - slope * A,
        p0 - slope * a0 - best * constant,
        P_size + slope * A_size,
        abs(p0) + slope * a0_size + best * (abs(constant) + doubt / gamma(len(A) + 12)),
    )
    return best, max(0.0, above + error) * float(slope_above(loss, m_low)) + 4 * UNIT * best


def _best_on_frontier(loss, m, p, slopes):
    """Largest ``s(m) p(m)`` along the frontier, and where (a search: nothing is proved here).

    ``p`` is concave and ``1 / s`` convex, so ``s p`` has one hill where ``p > 0``.
    """
    values = -loss.derivative(m) * p
    k = int(np.argmax(values))
    best, at = float(values[k]), float(m[k])
    for e in (k - 1, k):
        if not 0 <= e < len(slopes):
            continue
        low, high, sigma = float(m[e]), float(m[e + 1]), float(slopes[e])
        if sigma <= 0.0:
            continue  # then p and s both fall
        mid = min(max(loss.best_margin(float(p[e]) - sigma * low, sigma), low), high)
        value = loss.pull(mid) * (float(p[e]) + sigma * (mid - low))
        if value > best:
            best, at = value, mid
    return best, at


def _subdivide(loss, region, frontier, P, p0, A, a0, A_size, a0_size, m_low, m_high, wide):
    """Upper bound of ``s p`` for any falling ``s``, of either sign: intervals of the margin.

    On each, ``p`` lies below a line whose slope is that of the frontier there, and ``s`` between its values at the
    ends. Intervals whose bound is above the best value on the frontier are halved, up to :data:`MOST_PIECES` of them.
    """
    P_size = np.abs(P)
    m, p, slopes = frontier
    lines = {}

    def line(edge):
        """``(top, slope)``: ``p <= top + slope m`` over the hull, for the slope of one edge."""
        if edge not in lines:
            slope = float(slopes[edge]) if edge >= 0 else 0.0
            sizes = P_size + abs(slope) * A_size, abs(p0) + abs(slope) * a0_size
            top, error = region.linear_maximum(P - slope * A, p0 - slope * a0, *sizes)
            lines[edge] = top + error, slope
        return lines[edge]

    grid = np.linspace(m_low, m_high, 129)
    low, high, best, settled = grid[:-1], grid[1:], -math.inf, -math.inf
    for _ in range(60):
        middle = 0.5 * (low + high)
        edges, which = np.unique(np.clip(np.searchsorted(m, middle) - 1, -1, len(slopes) - 1), return_inverse=True)
        most = np.full(len(low), math.inf)
        for beside in (0, -1, 1) if region.balls else (0,):  # chords of an arc leave room: the next line may be lower
            chosen = np.clip(edges + beside, min(0, len(slopes) - 1), len(slopes) - 1)
            top, slope = np.array([line(int(edge)) for edge in chosen])[which].T
            above = top + np.maximum(slope * low, slope * high)
            above += 4 * UNIT * (np.abs(top) + np.abs(slope) * np.maximum(np.abs(low), np.abs(high)))
            most = np.minimum(most, above)
        bounds = np.where(most > 0.0, slope_above(loss, low), slope_below(loss, high + wide)) * most
        best = max(best, float(np.max(-loss.derivative(middle) * np.interp(middle, m, p))))
        still = bounds > best + 1e-10 * abs(best)
        settled = max(settled, float(np.max(bounds[~still], initial=-math.inf)))
        low, high, middle, bounds = low[still], high[still], middle[still], bounds[still]
        if not 0 < len(low) <= MOST_PIECES:
            break
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        bounds = np.tile(bounds, 2)
    return max(settled, float(np.max(bounds, initial=-math.inf))), 0.0

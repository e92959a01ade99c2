"""The best multiplier of one constraint: a convex function of one variable, by points and the lines below them."""

from __future__ import annotations

from mtpfast.arrays.rounding import UNIT

__all__ = ["best_multiplier"]


def best_multiplier(at, first, step, scale, room, touching=None, steps=100):
    """The minimum over ``t >= 0`` of the dual ``D(t) = max_x gain(x) - t excess(x)``.

    ``at(t)`` is a tuple ``(t, excess, gain, x, ...)`` of an x where that maximum is attained; ``first`` is ``at(0)``,
    its excess above 0. Both ends of a bracket know a point and so a line below D. In turn the lines' crossing (exact
    where D has kinks) and the false position of the excess (fast where it is smooth) are tried.

    Parameters
    ----------
    step : float
        Where to look for an end without excess.
    scale : float
        To rounding of a number of this size D is known.
    room : float
        An excess so small counts as none.
    touching : callable, optional
        The right end where no multiplier leaves no excess; without it the end is what it is.

    Returns
    -------
    (best, share, left, right)
        The point of the best multiplier that was seen, and the ends: ``left + share (right - left)`` has no excess.
    """

    def dual(point):
        return point[2] - point[0] * point[1]

    left = first
    for _ in range(60):
        right = at(step)
        if right[1] <= room:  # an end on the edge may never be below 0, and the step would grow without bound
            break
        left, step = right, 4.0 * step
    else:
        if touching is None:
            return min(left, right, key=dual), 1.0, left, right
        right = touching(step)
    best = min(left, right, key=dual)
    scale += abs(dual(best))
    weight_left, weight_right, side = 1.0, 1.0, 0
    for step in range(steps):
        share = left[1] / (left[1] - right[1]) if left[1] > right[1] else 1.0
        primal = left[2] + share * (right[2] - left[2])
        if dual(best) - primal <= 16 * UNIT * scale:
            break
        if step % 3 == 2:
            middle = (left[2] - right[2]) / (left[1] - right[1])  # where the lines below the dual cross
        else:
            high, low = weight_left * left[1], weight_right * right[1]
            middle = left[0] + (right[0] - left[0]) * high / (high - low)
        if step % 8 == 7 or not left[0] < middle < right[0]:
            middle = 0.5 * (left[0] + right[0])
        if not left[0] < middle < right[0]:
            break
        new = at(middle)
        best = min(best, new, key=dual)
        if abs(new[1]) <= room:
            return new, 0.0, new, new
        if new[1] > 0.0:  # an end that stays twice weighs half (Illinois)
            left, weight_left = new, 1.0
            weight_right, side = (0.5 * weight_right if side > 0 else 1.0), 1
        else:
            right, weight_right = new, 1.0
            weight_left, side = (0.5 * weight_left if side < 0 else 1.0), -1
    share = left[1] / (left[1] - right[1]) if left[1] > right[1] else 1.0
    return best, share, left, right

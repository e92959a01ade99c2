"""The compiled oracle: the largest loss difference over a box, and over lattices and groups beside it.

Bounds returned here are at least the true maximum, the rounding of the sums included.
"""

from libc.math cimport INFINITY, fabs, floor, rint
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memmove

from mtpfast._core cimport DONE, EPS, Hinge, Loss, SquaredHinge, grow


# ---------------------------------------------------------------------------------------------
# The oracle over a box (oracle/search.py says why the frontier is enough)
#
# What the last digits of the models must not decide is decided by rules. `noise`, (2 d + 6) EPS times the largest
# sum of the sizes of its terms, bounds the rounding error of a score.
#  * A coordinate that moves a score by no more than the noise does not move it at all; one that moves neither score
#    stays at its resting value.
#  * Edges of one slope, to TIE and the noise, are one edge: along it the coordinates move in the order of their
#    numbers.
#  * A place further along the frontier must be better by more than the noise makes of the loss.
#  * On an edge the maximum of a smooth loss is stationary: it is found to the last digits, and then moved to the
#    coarsest binary fraction of the edge that costs at most COST of the value. So the small errors of a refit are
#    not carried from step to step.
# ---------------------------------------------------------------------------------------------

#: Slopes that differ by this share are equal; what the place on an edge may cost, as a share of the value.
cdef double TIE = 1e-11
cdef double COST = 1e-11

cdef enum:
    RUN = 8    # so many edges are sorted by insertion


cdef struct Flip:
    double ratio        # gain in v per unit of u
    double du, dv       # what the move of coordinate j from one end to the other adds
    Py_ssize_t j


cdef Flip *by_ratio(Flip *flips, Py_ssize_t n, Flip *spare) noexcept nogil:
    """The flips by falling ratio, those of equal ratio in the order they came in: in `flips` or in `spare`.

    Runs of RUN by insertion, then merged pair by pair. The ratios come in no order that a processor could foresee, so
    the merge has no branch on them. (`qsort` would take most of the time of a search.)
    """
    cdef Py_ssize_t start, i, j, middle, stop, k, width = RUN, right
    cdef Flip moving
    for i in range(1, n):
        moving, start, j = flips[i], i - i % RUN, i
        while j > start and flips[j - 1].ratio < moving.ratio:
            flips[j] = flips[j - 1]
            j -= 1
        flips[j] = moving
    while width < n:
        start = 0
        while start < n:
            middle = start + width if start + width < n else n
            stop = middle + width if middle + width < n else n
            i, j, k = start, middle, start
            while i < middle and j < stop:
                right = flips[j].ratio > flips[i].ratio
                spare[k] = flips[i + (j - i) * right]
                i, j, k = i + 1 - right, j + right, k + 1
            memcpy(spare + k, flips + i, (middle - i) * sizeof(Flip))
            memcpy(spare + k + middle - i, flips + j, (stop - j) * sizeof(Flip))
            start = stop
        flips, spare = spare, flips
        width *= 2
    return flips


cdef int by_number(const void *a, const void *b) noexcept nogil:
    cdef Py_ssize_t i = (<const Flip *>a).j, j = (<const Flip *>b).j
    return -1 if i < j else (1 if i > j else 0)


cdef struct Best:
    double value    # largest loss difference found
    double bound    # nothing on the edges searched so far exceeds this
    double tie      # what a place further along the frontier must be better by
    Py_ssize_t edge
    double t


cdef inline double noise_of(double at_u, double at_v) noexcept nogil:
    """A difference of two losses below this is none."""
    return 1e-14 * (at_u + at_v) + 8 * EPS


cdef inline double noise(Loss loss, double u, double v) noexcept nogil:
    """A loss difference at scores u, v below this is none."""
    return noise_of(loss.value(u), loss.value(v))


cdef inline double passed_on(
    Loss loss, double u, double v, double at_u, double at_v, double noise_u, double noise_v
) noexcept nogil:
    """What errors of the scores make of the loss difference at u, v, where the losses are at_u and at_v."""
    cdef double s = 1.0, t = 1.0
    if Loss is SquaredHinge:
        s, t = loss.slope(u - noise_u), loss.slope(v - noise_v)
    return s * noise_u + t * noise_v + noise_of(at_u, at_v)


cdef inline bint tied(const Flip *p, double ratio, double noise_u, double noise_v) noexcept nogil:
    """Whether an edge has that slope, as far as can be told."""
    return fabs(p.ratio - ratio) <= (TIE + noise_u / p.du + noise_v / p.dv) * ratio


cdef void break_ties(
    Flip *flips, Py_ssize_t n, double noise_u, double noise_v, Py_ssize_t *edge, double *t
) noexcept nogil:
    """Let the edges of the slope of `edge`, up to `t` of which the frontier has been followed, be followed in the order
    of their numbers; they are moved accordingly."""
    cdef Py_ssize_t first = edge[0], last = edge[0] + 1, e
    cdef double ratio = flips[edge[0]].ratio, way
    while first > 0 and tied(&flips[first - 1], ratio, noise_u, noise_v):
        first -= 1
    while last < n and tied(&flips[last], ratio, noise_u, noise_v):
        last += 1
    if last - first == 1:
        return
    way = t[0] * flips[edge[0]].dv
    for e in range(first, edge[0]):
        way += flips[e].dv
    qsort(flips + first, last - first, sizeof(Flip), &by_number)
    for e in range(first, last):
        if way <= flips[e].dv + noise_v or e == last - 1:
            edge[0] = e
            t[0] = 0.0 if way <= noise_v else (1.0 if way >= flips[e].dv - noise_v else way / flips[e].dv)
            return
        way -= flips[e].dv


cdef inline double uphill(Loss loss, double u, double v, double du, double dv, double t) noexcept nogil:
    """The derivative of phi(u + t du) - phi(v + t dv)."""
    return loss.slope(v + t * dv) * dv - loss.slope(u + t * du) * du


cdef double settled(Loss loss, double u, double v, double du, double dv, double t) noexcept nogil:
    """The place on an edge, 0 < t < 1, that stands for a maximum near t."""
    cdef double low, high, at_low, at_high, mid, at_mid, h = 1e-6, value, cost, grid, place
    cdef int _
    if Loss is not Hinge:  # whose maximum is at a kink
        while True:
            low, high = (t - h if t > h else 0.0), (t + h if t + h < 1.0 else 1.0)
            at_low, at_high = uphill(loss, u, v, du, dv, low), uphill(loss, u, v, du, dv, high)
            if at_low > 0.0 and at_high < 0.0:
                break
            if h >= 1e-2:
                return t
            h *= 10.0
        for _ in range(60):  # false position, the end that stays weighing half
            mid = high - at_high * (high - low) / (at_high - at_low)
            if not low < mid < high:
                mid = 0.5 * (low + high)
            at_mid = uphill(loss, u, v, du, dv, mid)
            if at_mid > 0.0:
                low, at_low, at_high = mid, at_mid, 0.5 * at_high
            elif at_mid < 0.0:
                high, at_high, at_low = mid, at_mid, 0.5 * at_low
            else:
                low = high = mid
            if high - low <= 4 * EPS:
                break
        t = 0.5 * (low + high)
        value = loss.value(u + t * du) - loss.value(v + t * dv)
        cost = COST * fabs(value) + noise(loss, u + t * du, v + t * dv)
        grid = 4096.0
        while grid < 1e12:
            place = rint(t * grid) / grid
            if loss.value(u + place * du) - loss.value(v + place * dv) >= value - cost:
                return place
            grid *= 16.0
    return t


cdef inline void scores(
    const double[::1] theta, const double[::1] theta_target, double y, const double[::1] x, double *u, double *v
) noexcept nogil:
    """y (w.x + b) under both models, added up in the order of the features."""
    cdef Py_ssize_t i, d = x.shape[0]
    cdef double s = y * theta[d], t = y * theta_target[d]
    for i in range(d):
        s += y * theta[i] * x[i]
        t += y * theta_target[i] * x[i]
    u[0], v[0] = s, t


cdef double conclude(
    Loss loss, const double[::1] theta, const double[::1] theta_target, double y, double[::1] x,
    Py_ssize_t j, double low, double high, double t, double *u, double *v,
) noexcept nogil:
    """Move coordinate j (-1: none) from where it is, `low` or `high`, the share t of the way to the other end, to its
    settled place. Returns the loss difference at x, and the scores."""
    cdef double start, way
    if j >= 0:
        start = x[j]
        way = high - low if start == low else low - high
        if Loss is not Hinge:  # whose maximum is at a kink: settled as it is
            scores(theta, theta_target, y, x, u, v)
            t = settled(loss, u[0], v[0], y * theta[j] * way, y * theta_target[j] * way, t)
        # a binary fraction from either end
        x[j] = (high if start == low else low) if t == 1.0 else start + t * way
        x[j] = low if x[j] < low else (high if x[j] > high else x[j])
    scores(theta, theta_target, y, x, u, v)
    return loss.value(u[0]) - loss.value(v[0])


cdef void search_piece(
    Loss loss, double u0, double v0, double du, double dv, double low, double high,
    Py_ssize_t edge, Best *best,
) noexcept nogil:
    """Maximise phi(u0 + t du) - phi(v0 + t dv) over t in [low, high], which holds no kink inside.

    With L <= f'' on an interval, f(t) - L t^2 / 2 is convex, so f lies below its chord plus
    |L| / 2 (t - low) (high - t): intervals whose bound does not beat the best value are dropped,
    the others are halved. The bound falls with the square of the width, hence the few levels.
    """
    cdef double stack[128]
    cdef int top = 0
    cdef double a, b, fa, fb, h, mid, fm, curve, bound, rise, tol
    stack[0], stack[1] = low, high
    top = 1
    fa = loss.value(u0 + low * du) - loss.value(v0 + low * dv)
    fb = loss.value(u0 + high * du) - loss.value(v0 + high * dv)
    if fa > best.value + best.tie:
        best.value, best.edge, best.t = fa, edge, low
    if fb > best.value + best.tie:
        best.value, best.edge, best.t = fb, edge, high
    while top > 0:
        top -= 1
        a, b = stack[2 * top], stack[2 * top + 1]
        fa = loss.value(u0 + a * du) - loss.value(v0 + a * dv)
        fb = loss.value(u0 + b * du) - loss.value(v0 + b * dv)
        h = b - a
        curve = -(
            loss.least_curvature(u0 + a * du, u0 + b * du) * du * du
            - loss.most_curvature(v0 + a * dv, v0 + b * dv) * dv * dv
        ) * h * h
        bound = fa if fa > fb else fb
        mid = 0.5
        if curve > 0.0:
            # chord fa + s (fb - fa) plus curve / 2 * s (1 - s), s in [0, 1]
            rise = fb - fa
            if fabs(rise) < 0.5 * curve:
                bound = fa + 0.5 * rise + 0.125 * curve + 0.5 * rise * rise / curve
                mid = 0.5 + rise / curve
        # relative to the difference, or to the losses where they all but cancel
        tol = 1e-10 * fabs(best.value) + 1e-14 * (loss.value(u0 + a * du) + loss.value(v0 + a * dv))
        if bound > best.value:
            # the peak of the bound is a good guess of the peak itself
            fm = loss.value(u0 + (a + mid * h) * du) - loss.value(v0 + (a + mid * h) * dv)
            if fm > best.value + best.tie:
                best.value, best.edge, best.t = fm, edge, a + mid * h
        tol = tol if tol > best.tie else best.tie
        if bound <= best.value + tol or h < 1e-12 or top >= 62:
            if bound > best.bound:
                best.bound = bound
            continue
        if mid < 0.1:
            mid = 0.1
        elif mid > 0.9:
            mid = 0.9
        mid = a + mid * h
        stack[2 * top], stack[2 * top + 1] = mid, b
        stack[2 * top + 2], stack[2 * top + 3] = a, mid
        top += 2


cdef void search_edge(
    Loss loss, double u0, double v0, double du, double dv, Py_ssize_t edge, Best *best
) noexcept nogil:
    """Maximise along one edge of the frontier: split it at the kinks of either loss."""
    cdef double kink = loss.kink()
    cdef double cuts[4]
    cdef double t
    cdef int n = 1, i
    # phi(u) falls and phi(v) falls along the edge: nothing on it exceeds phi(u0) - phi(v1).
    # Where the models are equal, the difference is 0 all along.
    if loss.value(u0) - loss.value(v0 + dv) <= best.value or (u0 == v0 and du == dv):
        return
    cuts[0] = 0.0
    if u0 < kink < u0 + du:
        cuts[n] = (kink - u0) / du
        n += 1
    if v0 < kink < v0 + dv:
        t = (kink - v0) / dv
        if n == 2 and t < cuts[1]:
            cuts[2], cuts[1] = cuts[1], t
        else:
            cuts[n] = t
        n += 1
    cuts[n] = 1.0
    for i in range(n):
        search_piece(loss, u0, v0, du, dv, cuts[i], cuts[i + 1], edge, best)


def box_loss_difference(
    Loss loss,
    const double[::1] theta,         # IN  (d + 1,)
    const double[::1] theta_target,  # IN  (d + 1,)
    const double[::1] lower,         # IN  (d,)
    const double[::1] upper,         # IN  (d,)
    const double[::1] rest,          # IN  (d,) where a coordinate stays that moves neither score
    double y,                        # IN  the label, -1. or +1.
    double[::1] x,                   # OUT (d,) the maximiser
):
    """The largest loss difference over a box for one label, O(d log d).

    Returns (value, upper_bound): ``value`` as recomputed at ``x``; ``upper_bound`` at least the
    true maximum, the rounding of the sums included.
    """
    cdef Py_ssize_t d = lower.shape[0], n_flips = 0, j, e
    if (theta.shape[0] != d + 1 or theta_target.shape[0] != d + 1 or upper.shape[0] != d or x.shape[0] != d
            or rest.shape[0] != d):
        raise ValueError("box_loss_difference: shapes disagree")
    cdef Flip *block = <Flip *>malloc((2 * d + 1) * sizeof(Flip))
    cdef Flip *flips = block
    if block == NULL:
        raise MemoryError()
    cdef double at_u, at_v
    cdef double u, v, a, p, width, far, size_u, size_v, value, slack, err, noise_u, noise_v, lost_u, lost_v
    cdef double u0, v0
    cdef bint idle_u, idle_v
    cdef Best best
    with nogil:
        u, v = y * theta[d], y * theta_target[d]
        size_u, size_v = fabs(u), fabs(v)
        for j in range(d):
            far = fabs(lower[j]) + (upper[j] - lower[j])
            size_u += fabs(theta[j]) * far
            size_v += fabs(theta_target[j]) * far
        # Every score is a sum of at most 2 d + 1 products, so it is off by less than this
        # (Higham, Accuracy and Stability, section 3.1); the loss passes it on with its slope.
        err = (2 * d + 6) * EPS
        noise_u, noise_v = err * size_u, err * size_v
        # What idle coordinates can cost is added to the bound.
        lost_u = lost_v = 0.0
        for j in range(d):
            a, p = y * theta[j], y * theta_target[j]
            width = upper[j] - lower[j]
            idle_u, idle_v = fabs(a) * width <= noise_u, fabs(p) * width <= noise_v
            if idle_u:
                lost_u += fabs(a) * width
            if idle_v:
                lost_v += fabs(p) * width
            if not idle_u:
                x[j] = lower[j] if a > 0.0 else upper[j]
                if not idle_v and (a > 0.0) == (p > 0.0):
                    flips[n_flips].ratio = fabs(p) / fabs(a)
                    flips[n_flips].du, flips[n_flips].dv = fabs(a) * width, fabs(p) * width
                    flips[n_flips].j = j
                    n_flips += 1
            elif not idle_v:
                x[j] = upper[j] if p > 0.0 else lower[j]
            else:
                x[j] = rest[j]
            u += a * x[j]
            v += p * x[j]
        flips = by_ratio(flips, n_flips, flips + d)
        u0, v0 = u, v
        at_u, at_v = loss.value(u), loss.value(v)
        best.value = best.bound = at_u - at_v
        best.edge, best.t = 0, 0.0
        best.tie = passed_on(loss, u, v, at_u, at_v, noise_u, noise_v)
        # first the vertices, so that most edges are dropped unsearched
        for e in range(n_flips):
            u += flips[e].du
            v += flips[e].dv
            at_u, at_v = loss.value(u), loss.value(v)
            value = at_u - at_v
            if value > best.bound:
                best.bound = value
            if value > best.value + best.tie:
                best.value, best.edge, best.t = value, e, 1.0
                best.tie = passed_on(loss, u, v, at_u, at_v, noise_u, noise_v)
        u, v = u0, v0
        for e in range(n_flips):
            search_edge(loss, u, v, flips[e].du, flips[e].dv, e, &best)
            u += flips[e].du
            v += flips[e].dv
        if best.value > best.bound:
            best.bound = best.value
        j = -1
        if n_flips > 0:
            break_ties(flips, n_flips, noise_u, noise_v, &best.edge, &best.t)
            for e in range(best.edge + (best.t == 1.0)):
                j = flips[e].j
                x[j] = upper[j] if x[j] == lower[j] else lower[j]
            j = flips[best.edge].j if 0.0 < best.t < 1.0 else -1
        value = conclude(
            loss, theta, theta_target, y, x, j, lower[j] if j >= 0 else 0.0, upper[j] if j >= 0 else 0.0, best.t, &u, &v
        )
        lost_u += noise_u
        lost_v += noise_v
        slack = (loss.slope(u - lost_u) * lost_u + loss.slope(v - lost_v) * lost_v
                 + 8 * EPS * (loss.value(u) + loss.value(v)))
        free(block)
    return value, (value if value > best.bound else best.bound) + slack


# ---------------------------------------------------------------------------------------------
# The oracle over a mixed space: lattices and groups beside continuous coordinates
#
# The scores (u, v) of a point are sums over its coordinates and groups, so the points beating a
# threshold are those whose sum lies above the curve v = V(u), phi(u) - phi(V(u)) = threshold. With
# s = -phi', V' = s(u) / s(V) and V'' has the sign of (1/s)'(V) - (1/s)'(u): where 1/s is convex (it
# is for the three losses) and the threshold positive, the curve is convex. So one line decides
# whether what is still open can lift a partial point above it: the line that touches the curve
# with the slope of the steepest open edge ahead, and the same looking back.
#
# The lattices and the groups (items) start where the relaxation has its maximum and are taken up in
# turn, those nearest to that edge of the frontier first; a state is one way to set the items taken
# up so far. States that the lines rule out are dropped, and so are states with another one below
# them in u and above them in v. (Pisinger's minimal algorithm for the knapsack problem, Operations
# Research 45, 1997, with the loss difference in place of a capacity.) The continuous coordinates
# are never taken up: their frontier is added to each state as a whole, which shifts the touching
# lines by its support function. Lattices of many values are fine: they count as continuous until
# nothing else is open, and are then taken up, the coarsest first.
# ---------------------------------------------------------------------------------------------

cdef enum:
    FINE = 16              # lattices of more values are fine


cdef struct Choice:        # a level of a group; its scores count from those of level 0
    double u, v
    Py_ssize_t column      # the column that is on; -1: none
    Py_ssize_t rank        # among equal levels: the resting one is first, then none, then the columns


cdef struct Item:          # a coordinate on a lattice, or a group; u and v rise with the level
    Py_ssize_t column      # of the lattice; -1: a group
    Py_ssize_t first       # of a group: where its levels start among the choices
    Py_ssize_t n_levels
    Py_ssize_t level       # where it stands until it is taken up
    double du, dv          # of a lattice: what one level adds
    bint fine


cdef struct Edge:          # of the frontier, u and v rising
    double slope, du, dv
    Py_ssize_t item        # -1 - j: the continuous coordinate j
    Py_ssize_t start, stop  # levels


cdef struct State:
    double u, v            # the items not yet taken up where they stand, the curve at its left end
    Py_ssize_t parent, level  # the state one stage earlier, and the level of the item taken up since


cdef struct Search:
    # all edges of the frontier, in the order of their slopes; and those of the items that are not fine
    Py_ssize_t n_all, n_edges, n_items
    Edge *all_edges
    Edge *edges
    Item *items
    Choice *choices
    # the curve: the frontier of the continuous coordinates and of the fine lattices not taken up
    Py_ssize_t n_curve, n_fine
    double *curve_u
    double *curve_v
    double *curve_slope
    Py_ssize_t *curve_item
    # the items taken up, and the states after each
    Py_ssize_t n_stages
    Py_ssize_t *order
    char *taken
    State *states
    Py_ssize_t capacity
    # the best point so far: its place on the curve (an edge and how far along it, or the level of a
    # fine lattice); the levels of all items; how many continuous coordinates are at their far end,
    # and how far the next one is
    double value, threshold, known
    Py_ssize_t place, place_level
    double place_t
    Py_ssize_t *level
    Py_ssize_t n_crossed
    double part
    # the nearest open edges on either side, and the lines of their slopes that touch the curve V
    Py_ssize_t left, right
    double left_slope, left_at, left_cut, right_slope, right_at, right_cut
    double rest_u, rest_v  # what the open edges can still take off u and add to v
    double least_u         # of any point


cdef int by_slope(const void *a, const void *b) noexcept nogil:
    cdef const Edge *p = <const Edge *>a
    cdef const Edge *q = <const Edge *>b
    if p.slope != q.slope:
        return -1 if p.slope > q.slope else 1
    if p.item != q.item:
        return -1 if p.item < q.item else 1
    return -1 if p.start < q.start else (1 if p.start > q.start else 0)


cdef int by_scores(const void *a, const void *b) noexcept nogil:
    cdef const Choice *p = <const Choice *>a
    cdef const Choice *q = <const Choice *>b
    if p.u != q.u:
        return -1 if p.u < q.u else 1
    if p.v != q.v:
        return -1 if p.v > q.v else 1
    return -1 if p.rank < q.rank else (1 if p.rank > q.rank else 0)


cdef int by_u(const void *a, const void *b) noexcept nogil:
    cdef const State *p = <const State *>a
    cdef const State *q = <const State *>b
    if p.u != q.u:
        return -1 if p.u < q.u else 1
    if p.v != q.v:
        return -1 if p.v > q.v else 1
    if p.parent != q.parent:
        return -1 if p.parent < q.parent else 1
    return -1 if p.level < q.level else (1 if p.level > q.level else 0)


cdef inline double level_u(const Search *s, Py_ssize_t i, Py_ssize_t level) noexcept nogil:
    return level * s.items[i].du if s.items[i].column >= 0 else s.choices[s.items[i].first + level].u


cdef inline double level_v(const Search *s, Py_ssize_t i, Py_ssize_t level) noexcept nogil:
    return level * s.items[i].dv if s.items[i].column >= 0 else s.choices[s.items[i].first + level].v


cdef void bend(Search *s) noexcept nogil:
    """Put the curve together."""
    cdef Py_ssize_t e, i, n = 0
    s.n_fine = 0
    s.curve_u[0] = s.curve_v[0] = 0.0
    for e in range(s.n_all):
        i = s.all_edges[e].item
        if i >= 0 and (not s.items[i].fine or s.taken[i]):
            continue
        s.n_fine += i >= 0
        s.curve_item[n] = i
        s.curve_slope[n] = s.all_edges[e].slope
        s.curve_u[n + 1] = s.curve_u[n] + s.all_edges[e].du
        s.curve_v[n + 1] = s.curve_v[n] + s.all_edges[e].dv
        n += 1
    s.n_curve = n


cdef inline Py_ssize_t curve_vertex(const Search *s, double slope) noexcept nogil:
    """The vertex of the curve that is highest in the direction (-slope, 1)."""
    cdef Py_ssize_t low = 0, high = s.n_curve, mid
    while low < high:
        mid = (low + high) // 2
        if s.curve_slope[mid] > slope:
            low = mid + 1
        else:
            high = mid
    return low


cdef inline double touch(Loss loss, const Search *s, double slope, double *at) noexcept nogil:
    """Where and at what height at u = 0 the line of this slope touches V, lowered by the curve.

    V rises faster than 1, so that a line of slope 1 or less meets it at the least u there is, where
    V(u) - u >= threshold / s(u) because phi is convex.
    """
    cdef double cut
    cdef Py_ssize_t i = curve_vertex(s, slope)
    if slope > 1.0:
        cut = loss.support(s.threshold, slope, at)
        at[0] -= s.curve_u[i]
    else:
        cut = s.least_u * (1.0 - slope) + s.threshold / loss.slope(s.least_u)
        at[0] = -INFINITY
    return cut - (s.curve_v[i] - slope * s.curve_u[i])


cdef void aim(Loss loss, Search *s) noexcept nogil:
    """Set the lines for the present threshold and open edges."""
    cdef Py_ssize_t i
    s.right_slope, s.right_at, s.right_cut = 0.0, -INFINITY, -INFINITY
    s.left_slope, s.left_at, s.left_cut = 0.0, INFINITY, -INFINITY
    if s.threshold > 0.0:
        if s.right < s.n_edges:
            s.right_slope = s.edges[s.right].slope
            s.right_cut = touch(loss, s, s.right_slope, &s.right_at)
        if s.left >= 0:
            s.left_slope = s.edges[s.left].slope
            s.left_cut = touch(loss, s, s.left_slope, &s.left_at)
        return
    s.rest_u, s.rest_v = 0.0, s.curve_v[s.n_curve]
    for i in range(s.left + 1):
        if not s.taken[s.edges[i].item]:
            s.rest_u += s.edges[i].du
    for i in range(s.right, s.n_edges):
        if not s.taken[s.edges[i].item]:
            s.rest_v += s.edges[i].dv


cdef inline bint hopeful(Loss loss, const Search *s, double u, double v) noexcept nogil:
    """Whether what is open may lift a state, itself not above the threshold, above it."""
    if s.threshold <= 0.0:
        return loss.value(u - s.rest_u) - loss.value(v + s.rest_v) > s.threshold
    return ((u < s.right_at and v - s.right_slope * u > s.right_cut)
            or (u > s.left_at and v - s.left_slope * u > s.left_cut))


cdef inline bint peaks(
    Loss loss, double threshold, double slope, double u, double v, double end
) noexcept nogil:
    """Whether the inside of an edge, from u, v on to u = end, may exceed what its ends do not."""
    cdef double at = 0.0
    if threshold <= 0.0:
        return True
    if slope <= 1.0:  # V rises faster
        return False
    return v - slope * u > loss.support(threshold, slope, &at) and u < at < end


cdef bint beats(Loss loss, const Search *s, double u, double v, Py_ssize_t *edge) noexcept nogil:
    """Whether a state lies above the threshold somewhere on the curve, which may be at `edge`.

    The curve is concave and V convex, so they are nearest on the first edge whose right end is at
    or beyond the point where a line of its slope touches V.
    """
    cdef Py_ssize_t low = 0, high = s.n_curve, mid
    cdef double at = 0.0, cut
    edge[0] = 0
    if s.n_curve == 0:
        return loss.value(u) - loss.value(v) > s.threshold
    if s.threshold <= 0.0:
        return True
    while low < high:
        mid = (low + high) // 2
        if s.curve_slope[mid] <= 1.0:
            high = mid
            continue
        loss.support(s.threshold, s.curve_slope[mid], &at)
        if u + s.curve_u[mid + 1] >= at:
            high = mid
        else:
            low = mid + 1
    edge[0] = low
    u += s.curve_u[low]
    v += s.curve_v[low]
    if low < s.n_curve and s.curve_slope[low] > 1.0:
        cut = loss.support(s.threshold, s.curve_slope[low], &at)
        if u < at:  # V may rise steeply there (the hinge): compare heights, not losses
            return v - s.curve_slope[low] * u > cut
    return loss.value(u) - loss.value(v) > s.threshold


cdef bint improve(Loss loss, Search *s, double u, double v, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Look for the best point so far: a state and the vertices first, ..., last of the curve.

    A fine lattice is rounded either way.
    """
    cdef Best best
    cdef Py_ssize_t i, k = -1, n
    cdef double value, next_value, du, dv
    best.value, best.tie = -INFINITY, 0.0
    for i in range(first, last + 1):
        value = loss.value(u + s.curve_u[i]) - loss.value(v + s.curve_v[i])
        if value > best.value:
            best.value, best.edge, best.t = value, i, 0.0
    best.bound = best.value
    for i in range(first, last):
        value = best.value + noise(loss, u + s.curve_u[i], v + s.curve_v[i])
        if peaks(loss, value, s.curve_slope[i], u + s.curve_u[i], v + s.curve_v[i], u + s.curve_u[i + 1]):
            search_edge(loss, u + s.curve_u[i], v + s.curve_v[i], s.curve_u[i + 1] - s.curve_u[i],
                        s.curve_v[i + 1] - s.curve_v[i], i, &best)
    i, value = best.edge, best.value
    u += s.curve_u[i]
    v += s.curve_v[i]
    if best.t > 0.0:
        du, dv = s.curve_u[i + 1] - s.curve_u[i], s.curve_v[i + 1] - s.curve_v[i]
        if s.curve_item[i] >= 0:
            n = s.items[s.curve_item[i]].n_levels - 1
            k = <Py_ssize_t>floor(best.t * n)
            k = k if k < n else n - 1
            value = loss.value(u + k * (du / n)) - loss.value(v + k * (dv / n))
            next_value = loss.value(u + (k + 1) * (du / n)) - loss.value(v + (k + 1) * (dv / n))
            if next_value > value:
                k += 1
                value = next_value
            best.t = <double>k / n
        u += best.t * du
        v += best.t * dv
    if value <= s.value:
        return False
    s.value, s.place, s.place_t, s.place_level = value, i, best.t, k
    value = value if value > s.known else s.known
    s.threshold = value + 1e-10 * fabs(value) + noise(loss, u, v)
    return True


cdef bint consider(Loss loss, Search *s, double u, double v, bint *better) noexcept nogil:
    """Whether a state beats the threshold; and whether it gave a better point.

    With fine lattices on the curve the state may beat the threshold although no point of it does.
    """
    cdef Py_ssize_t edge
    better[0] = False
    if not beats(loss, s, u, v, &edge):
        return False
    if s.n_fine == 0 or s.threshold <= 0.0:
        better[0] = improve(loss, s, u, v, 0, s.n_curve)
    else:
        better[0] = improve(loss, s, u, v, edge, edge + 1 if edge < s.n_curve else edge)
    return True


cdef void write_down(Search *s, const Py_ssize_t *level) noexcept nogil:
    """Keep the best point so far: these levels, and its place on the curve."""
    cdef Py_ssize_t e, i
    memmove(s.level, level, s.n_items * sizeof(Py_ssize_t))
    s.n_crossed, s.part = 0, 0.0
    for e in range(s.n_curve):
        i = s.curve_item[e]
        if i < 0:
            s.n_crossed += e < s.place or (e == s.place and s.place_t == 1.0)
            if e == s.place and s.place_t < 1.0:
                s.part = s.place_t
        elif e != s.place or s.place_level < 0:
            s.level[i] = s.items[i].n_levels - 1 if e < s.place else 0
        else:
            s.level[i] = s.place_level


cdef void climb(Loss loss, Search *s, Py_ssize_t *level, double u, double v) noexcept nogil:
    """Change one item at a time for the better: a first answer, from levels with scores u, v."""
    cdef Py_ssize_t i, k, best_item, best_level = 0
    cdef double du, dv
    cdef bint better
    cdef int _
    consider(loss, s, u, v, &better)
    if better:
        write_down(s, level)
    for _ in range(6):
        best_item = -1
        for i in range(s.n_items):
            if s.items[i].fine:
                continue
            for k in range(s.items[i].n_levels):
                if k == level[i]:
                    continue
                du = level_u(s, i, k) - level_u(s, i, level[i])
                dv = level_v(s, i, k) - level_v(s, i, level[i])
                consider(loss, s, u + du, v + dv, &better)
                if better:
                    best_item, best_level = i, k
        if best_item < 0:
            return
        u += level_u(s, best_item, best_level) - level_u(s, best_item, level[best_item])
        v += level_v(s, best_item, best_level) - level_v(s, best_item, level[best_item])
        level[best_item] = best_level
        write_down(s, level)


cdef void note(Search *s, Py_ssize_t parent, Py_ssize_t level) noexcept nogil:
    """Keep the best point so far, a state of the present stage."""
    cdef Py_ssize_t i, stage = s.n_stages - 1
    for i in range(s.n_items):
        s.level[i] = s.items[i].level
    s.level[s.order[stage]] = level
    while stage > 0:
        stage -= 1
        s.level[s.order[stage]] = s.states[parent].level
        parent = s.states[parent].parent
    write_down(s, s.level)


cdef void skip_taken(Search *s) noexcept nogil:
    while s.right < s.n_edges and s.taken[s.edges[s.right].item]:
        s.right += 1
    while s.left >= 0 and s.taken[s.edges[s.left].item]:
        s.left -= 1


cdef Py_ssize_t thin_out(State *states, Py_ssize_t n, double eps_u, double eps_v) noexcept nogil:
    """Keep, in the order of u, the states that no other one dominates (but for eps)."""
    cdef Py_ssize_t i, kept = 0
    qsort(states, n, sizeof(State), &by_u)
    for i in range(n):
        if kept > 0:
            if states[i].v <= states[kept - 1].v + eps_v:
                continue
            while kept > 0 and states[kept - 1].u >= states[i].u - eps_u:
                kept -= 1
        states[kept] = states[i]
        kept += 1
    return kept


cdef Py_ssize_t next_item(const Search *s, double slope) noexcept nogil:
    """The open item with the edge nearest to the slope; then the coarsest fine lattice; -1: none."""
    cdef Py_ssize_t i, best = -1
    if s.left >= 0 and (s.right >= s.n_edges or s.edges[s.left].slope - slope < slope - s.edges[s.right].slope):
        return s.edges[s.left].item
    if s.right < s.n_edges:
        return s.edges[s.right].item
    if s.n_fine > 0:
        for i in range(s.n_items):
            if s.items[i].fine and not s.taken[i] and (best < 0 or s.items[i].du > s.items[best].du):
                best = i
    return best


cdef struct Stage:         # one item taken up: from which states come the next ones
    Py_ssize_t item, stop
    Py_ssize_t n_nodes, max_nodes


cdef int visit(
    Loss loss, Search *s, Stage *stage, Py_ssize_t parent, Py_ssize_t level, bint *promising
) noexcept nogil:
    """Set the item of the stage to a level in a state; keep the new state if it can still be bettered.

    `promising` is False where the state can be dropped for what was known before. Returns 0; or 1
    if the nodes do not suffice, -1 if the memory does not.
    """
    cdef Py_ssize_t i = stage.item
    cdef double u = s.states[parent].u + (level_u(s, i, level) - level_u(s, i, s.items[i].level))
    cdef double v = s.states[parent].v + (level_v(s, i, level) - level_v(s, i, s.items[i].level))
    cdef bint better, above = False, open_ahead
    if stage.n_nodes == stage.max_nodes:
        return 1
    stage.n_nodes += 1
    if s.threshold <= 0.0 or (v - s.right_slope * u > s.right_cut and v - s.left_slope * u > s.left_cut):
        above = consider(loss, s, u, v, &better)
        if better:
            note(s, parent, level)
            aim(loss, s)
    open_ahead = hopeful(loss, s, u, v)
    promising[0] = above or open_ahead
    if not open_ahead and not (above and s.n_fine > 0):
        return 0
    if stage.stop == s.capacity:
        if grow(<void **>&s.states, 2 * s.capacity * sizeof(State)) != DONE:
            return -1
        s.capacity *= 2
    s.states[stage.stop].u, s.states[stage.stop].v = u, v
    s.states[stage.stop].parent, s.states[stage.stop].level = parent, level
    stage.stop += 1
    return 0


cdef int take_up(Loss loss, Search *s, Stage *stage, Py_ssize_t start, Py_ssize_t stop) noexcept nogil:
    """Set the item of the stage in every state; returns what `visit` does.

    How far a state is above V is concave in the level of a fine lattice: the levels that may matter
    are a run about the one where the lattice, were it continuous, would stand.
    """
    cdef Py_ssize_t p, k, middle, n = s.items[stage.item].n_levels
    cdef bint promising = True
    cdef int failed
    cdef double at = 0.0
    for p in range(start, stop):
        middle = n - 1
        if s.items[stage.item].fine and s.threshold > 0.0:
            touch(loss, s, s.items[stage.item].dv / s.items[stage.item].du, &at)
            at = floor((at - s.states[p].u) / s.items[stage.item].du)
            middle = 0 if not at > 0.0 else (<Py_ssize_t>at if at < n - 1 else n - 1)
        for k in range(middle, -1, -1):
            failed = visit(loss, s, stage, p, k, &promising)
            if failed:
                return failed
            if not promising and s.items[stage.item].fine and s.threshold > 0.0:
                break
        for k in range(middle + 1, n):
            failed = visit(loss, s, stage, p, k, &promising)
            if failed:
                return failed
            if not promising and s.threshold > 0.0:
                break
    return 0


cdef int branch(
    Loss loss, Search *s, Py_ssize_t first, double slope, Py_ssize_t max_nodes, double eps_u, double eps_v,
    double *bound, Py_ssize_t *n_nodes,
) noexcept nogil:
    """Take up the items one by one from the state states[0]; `bound` is lowered to what is proved.

    `first` is the item that the relaxation splits (-1: none), `slope` that of its edge. Returns -1
    where there is no memory.
    """
    cdef Py_ssize_t start = 0, stop = 1, p, edge
    cdef Py_ssize_t old_left = 0, old_right = 0
    cdef double low, kept
    cdef int failed = 0, _
    cdef Stage stage
    stage.n_nodes, stage.max_nodes = 0, max_nodes
    while start < stop:
        skip_taken(s)
        stage.item = first if first >= 0 and s.n_stages == 0 else next_item(s, slope)
        if stage.item < 0:
            break
        old_left, old_right = s.left, s.right
        s.taken[stage.item] = 1
        s.order[s.n_stages] = stage.item
        s.n_stages += 1
        if s.items[stage.item].fine:
            bend(s)
        skip_taken(s)
        aim(loss, s)
        stage.stop = stop
        failed = take_up(loss, s, &stage, start, stop)
        if failed:
            break
        start, stop = stop, stop + thin_out(s.states + stop, stage.stop - stop, eps_u, eps_v)
    n_nodes[0] = stage.n_nodes
    if failed == 0 and s.threshold < bound[0]:
        bound[0] = s.threshold
    if failed <= 0 or s.n_stages == 1:
        return failed if failed < 0 else 0
    # Out of nodes: a threshold that none of the states of the last whole stage can beat is a bound.
    s.taken[stage.item] = 0
    s.left, s.right = old_left, old_right
    bend(s)
    kept = s.threshold
    low = kept if kept > 0.0 else 0.0
    for _ in range(40):
        s.threshold = 0.5 * (low + bound[0])
        if not low < s.threshold < bound[0]:
            break
        aim(loss, s)
        for p in range(start, stop):
            if (hopeful(loss, s, s.states[p].u, s.states[p].v)
                    or (s.n_fine > 0 and beats(loss, s, s.states[p].u, s.states[p].v, &edge))):
                low = s.threshold
                break
        else:
            bound[0] = s.threshold
    s.threshold = kept
    return 0


cdef Py_ssize_t efficient(
    Choice *choices, Py_ssize_t n, double eps_u, double eps_v, Py_ssize_t *times
) noexcept nogil:
    """Keep, in the order of u, the levels of a group that no other one dominates (but for eps).

    Of levels that are equal but for eps, the one of lowest rank stays. Taking one level for another
    costs eps at most; `times` counts how often that was done.
    """
    cdef Py_ssize_t i, kept = 0
    times[0] = 0
    qsort(choices, n, sizeof(Choice), &by_scores)
    for i in range(n):
        if kept > 0 and choices[i].v <= choices[kept - 1].v + eps_v:
            if choices[i].v > choices[kept - 1].v:
                times[0] += 1
            if (choices[i].rank < choices[kept - 1].rank and choices[i].v >= choices[kept - 1].v - eps_v
                    and choices[i].u <= choices[kept - 1].u + eps_u):
                times[0] += 1
                choices[kept - 1] = choices[i]
            continue
        while kept > 0 and choices[kept - 1].u >= choices[i].u - eps_u:
            times[0] += 1
            kept -= 1
        choices[kept] = choices[i]
        kept += 1
    return kept


cdef Py_ssize_t add_edges(
    Edge *edges, Py_ssize_t n_edges, const Choice *choices, Py_ssize_t n, Py_ssize_t item
) noexcept nogil:
    """Append the edges of a group's frontier: the upper hull of its levels, slopes falling."""
    cdef Py_ssize_t k, start, before = n_edges
    for k in range(1, n):
        start = k - 1
        while n_edges > before:
            start = edges[n_edges - 1].stop
            # the last edge stays if it is steeper than the way from its end to here
            if (edges[n_edges - 1].slope
                    > (choices[k].v - choices[start].v) / (choices[k].u - choices[start].u)):
                break
            start = edges[n_edges - 1].start
            n_edges -= 1
        edges[n_edges].du, edges[n_edges].dv = choices[k].u - choices[start].u, choices[k].v - choices[start].v
        edges[n_edges].slope = edges[n_edges].dv / edges[n_edges].du
        edges[n_edges].item, edges[n_edges].start, edges[n_edges].stop = item, start, k
        n_edges += 1
    return n_edges


cdef inline double lattice_value(double near, double origin, double step) noexcept nogil:
    return origin + rint((near - origin) / step) * step


cdef void exchange(Search *s, double noise_u, double noise_v, Py_ssize_t *scratch) noexcept nogil:
    """Of lattices that move the scores alike, as far as can be told, the first go as far as they can."""
    cdef Py_ssize_t e, f, i, k, n, total
    cdef Edge *edge
    cdef Edge *other
    for i in range(s.n_items):
        scratch[i] = 0  # not dealt with
    for e in range(s.n_all):
        edge = &s.all_edges[e]
        i = edge.item
        if i < 0 or s.items[i].column < 0 or scratch[i]:
            continue
        scratch[i], n, total = 1, 1, s.level[i]
        for f in range(e + 1, s.n_all):
            other = &s.all_edges[f]
            if not fabs(other.slope - edge.slope) <= (
                    TIE + noise_u / edge.du + noise_v / edge.dv + noise_u / other.du + noise_v / other.dv) * edge.slope:
                break
            k = other.item
            if (k >= 0 and s.items[k].column >= 0 and not scratch[k] and s.items[k].n_levels == s.items[i].n_levels
                    and fabs(other.du - edge.du) <= TIE * edge.du + noise_u
                    and fabs(other.dv - edge.dv) <= TIE * edge.dv + noise_v):
                scratch[k], n, total = 2, n + 1, total + s.level[k]
        if n == 1:
            continue
        scratch[i] = 2
        for k in range(s.n_items):  # in the order of their columns
            if scratch[k] == 2:
                scratch[k] = 1
                s.level[k] = total if total < s.items[k].n_levels - 1 else s.items[k].n_levels - 1
                total -= s.level[k]


def region_loss_difference(
    Loss loss,
    const double[::1] theta,                # IN  (d + 1,)
    const double[::1] theta_target,         # IN  (d + 1,)
    const double[::1] lower,                # IN  (d,) not read for the columns of groups
    const double[::1] upper,                # IN  (d,)
    const double[::1] origin,               # IN  (d,)
    const double[::1] step,                 # IN  (d,) 0: continuous
    const Py_ssize_t[::1] group_start,      # IN  (n_groups,) where each begins in the next three
    const Py_ssize_t[::1] group_column,     # IN
    const double[::1] group_off,            # IN
    const double[::1] group_on,             # IN
    const unsigned char[::1] exactly_one,   # IN  (n_groups,) 0: at most one
    const double[::1] rest,                 # IN  (d,) where a coordinate stays that moves neither score
    double y,                               # IN  the label, -1. or +1.
    double known,                           # IN  only points above this are of interest
    Py_ssize_t max_nodes,                   # IN  of the branch and bound
    double[::1] x,                          # OUT (d,) the best point found
):
    """The largest loss difference over a mixed space for one label.

    Returns (value, upper_bound, n_nodes): ``value`` as recomputed at ``x``; no point exceeds
    ``upper_bound``, rounding included. If the nodes suffice it is the larger of ``value`` and
    ``known``, to 1e-10.
    """
    cdef Py_ssize_t d = lower.shape[0], n_groups = group_start.shape[0], n_listed = group_column.shape[0]
    if (theta.shape[0] != d + 1 or theta_target.shape[0] != d + 1 or upper.shape[0] != d or x.shape[0] != d
            or origin.shape[0] != d or step.shape[0] != d or group_off.shape[0] != n_listed
            or rest.shape[0] != d or group_on.shape[0] != n_listed or exactly_one.shape[0] != n_groups or n_listed > d):
        raise ValueError("region_loss_difference: shapes disagree")
    cdef Search s
    cdef Best best
    cdef Py_ssize_t n_all = 0, n_choices = 0, n_nodes = 0, n_flips = 0, j, e, g, i, k, first, n
    cdef double u, v, a, p, width, at, size_u, size_v, value, err, noise_u, noise_v, lost_u, lost_v
    cdef bint idle_u, idle_v
    cdef double at_u, at_v, least_u, least_v, bound, slope, part, margin, most_a, most_p, zero_a, zero_p
    cdef int failed = 0
    # One block for everything whose size is known, the widest types first.
    cdef size_t m = d + n_groups + 1
    cdef char *block = <char *>malloc(
        m * (2 * sizeof(Edge) + sizeof(Flip) + sizeof(Item) + sizeof(Choice)
             + 3 * sizeof(double) + 4 * sizeof(Py_ssize_t) + 2))
    s.capacity = 256
    s.states = <State *>malloc(s.capacity * sizeof(State))
    if block == NULL or s.states == NULL:
        free(block)
        free(s.states)
        raise MemoryError()
    cdef Edge *edges = <Edge *>block
    s.edges = edges + m
    cdef Flip *flips = <Flip *>(s.edges + m)
    s.items = <Item *>(flips + m)
    s.choices = <Choice *>(s.items + m)
    s.curve_u = <double *>(s.choices + m)
    s.curve_v = s.curve_u + m
    s.curve_slope = s.curve_v + m
    s.order = <Py_ssize_t *>(s.curve_slope + m)
    s.level = s.order + m
    cdef Py_ssize_t *now = s.level + m
    s.curve_item = now + m
    s.taken = <char *>(s.curve_item + m)
    cdef char *grouped = s.taken + m
    with nogil:
        # As over a box, what moves a score by less than its rounding error does not move it.
        noise_u, noise_v = fabs(theta[d]), fabs(theta_target[d])
        for j in range(d):
            grouped[j] = 0
        for e in range(n_listed):
            grouped[group_column[e]] = 1
        for g in range(n_groups):
            most_a = most_p = 0.0
            for e in range(group_start[g], group_start[g + 1] if g + 1 < n_groups else n_listed):
                a, p = fabs(theta[group_column[e]]), fabs(theta_target[group_column[e]])
                noise_u += a * fabs(group_off[e])
                noise_v += p * fabs(group_off[e])
                at = group_on[e] - group_off[e]
                most_a = a * at if a * at > most_a else most_a
                most_p = p * at if p * at > most_p else most_p
            noise_u += most_a
            noise_v += most_p
        for j in range(d):
            if not grouped[j]:
                width = fabs(lower[j]) + (upper[j] - lower[j])
                noise_u += fabs(theta[j]) * width
                noise_v += fabs(theta_target[j]) * width
        a, p, err = noise_u, noise_v, (2 * d + 6) * EPS
        noise_u = err * a if err * a > 1e-100 * p else 1e-100 * p  # no slope overflows
        noise_v = err * p if err * p > 1e-100 * a else 1e-100 * a
        lost_u = lost_v = 0.0
        u, v = y * theta[d], y * theta_target[d]
        size_u, size_v = fabs(u), fabs(v)
        s.n_items = 0
        for g in range(n_groups):
            i, first, n = s.n_items, n_choices, 0
            most_a = most_p = zero_a = zero_p = 0.0
            if not exactly_one[g]:
                s.choices[first].u = s.choices[first].v = 0.0
                s.choices[first].column = s.choices[first].rank = -1
                n = 1
            for e in range(group_start[g], group_start[g + 1] if g + 1 < n_groups else n_listed):
                j = group_column[e]
                a, p = y * theta[j], y * theta_target[j]
                u += a * group_off[e]
                v += p * group_off[e]
                size_u += fabs(a * group_off[e])
                size_v += fabs(p * group_off[e])
                at = group_on[e] - group_off[e]
                if fabs(a * at) <= noise_u:
                    zero_a = fabs(a * at) if fabs(a * at) > zero_a else zero_a
                    a = 0.0
                if fabs(p * at) <= noise_v:
                    zero_p = fabs(p * at) if fabs(p * at) > zero_p else zero_p
                    p = 0.0
                most_a = fabs(a * at) if fabs(a * at) > most_a else most_a
                most_p = fabs(p * at) if fabs(p * at) > most_p else most_p
                s.choices[first + n].u, s.choices[first + n].v = a * at, p * at
                s.choices[first + n].column = j
                s.choices[first + n].rank = -2 if rest[j] == group_on[e] else j
                n += 1
            # one column is on, and a state that changes its level takes off and adds
            size_u += 3.0 * (most_a + zero_a)
            size_v += 3.0 * (most_p + zero_p)
            n = efficient(s.choices + first, n, noise_u, noise_v, &k)
            lost_u += zero_a + k * noise_u
            lost_v += zero_p + k * noise_v
            a, p = s.choices[first].u, s.choices[first].v
            u += a
            v += p
            for k in range(n):
                s.choices[first + k].u -= a
                s.choices[first + k].v -= p
            n_all = add_edges(edges, n_all, s.choices + first, n, i)
            s.items[i].column, s.items[i].first, s.items[i].n_levels, s.items[i].level = -1, first, n, 0
            s.items[i].du = s.items[i].dv = 0.0
            s.items[i].fine = False
            s.n_items += 1
            n_choices += n
        for j in range(d):
            if grouped[j]:
                continue
            a, p = y * theta[j], y * theta_target[j]
            width = upper[j] - lower[j]
            size_u += fabs(a) * (fabs(lower[j]) + width)
            size_v += fabs(p) * (fabs(lower[j]) + width)
            idle_u, idle_v = fabs(a) * width <= noise_u, fabs(p) * width <= noise_v
            if idle_u:
                lost_u += fabs(a) * width
            if idle_v:
                lost_v += fabs(p) * width
            if not idle_u:
                x[j] = lower[j] if a > 0.0 else upper[j]
            elif not idle_v:
                x[j] = upper[j] if p > 0.0 else lower[j]
            else:
                x[j] = rest[j]
            u += a * x[j]
            v += p * x[j]
            if not idle_u and not idle_v and (a > 0.0) == (p > 0.0):
                edges[n_all].slope = fabs(p) / fabs(a)
                edges[n_all].du, edges[n_all].dv = fabs(a) * width, fabs(p) * width
                edges[n_all].start, edges[n_all].stop = 0, 1
                edges[n_all].item = -1 - j
                if step[j] > 0.0:
                    # the ends may be lattice values but for their last digits
                    part = lattice_value(lower[j], origin[j], step[j]) - lower[j]
                    at = lattice_value(upper[j], origin[j], step[j]) - upper[j]
                    part = fabs(part) if fabs(part) > fabs(at) else fabs(at)
                    lost_u += fabs(a) * part
                    lost_v += fabs(p) * part
                    i = s.n_items
                    edges[n_all].item, edges[n_all].stop = i, <Py_ssize_t>rint(width / step[j])
                    s.items[i].column, s.items[i].first, s.items[i].level = j, 0, 0
                    s.items[i].n_levels = edges[n_all].stop + 1
                    s.items[i].fine = s.items[i].n_levels > FINE
                    s.items[i].du, s.items[i].dv = fabs(a) * step[j], fabs(p) * step[j]
                    s.n_items += 1
                n_all += 1
        least_u, least_v = u, v
        qsort(edges, n_all, sizeof(Edge), &by_slope)
        # the relaxation
        at_u, at_v = loss.value(u), loss.value(v)
        best.value = best.bound = at_u - at_v
        best.edge, best.t = -1, 1.0
        best.tie = passed_on(loss, u, v, at_u, at_v, noise_u, noise_v)
        margin = 0.5 * noise_of(at_u, at_v)  # half of it here, all of it when states are compared
        for e in range(n_all):
            u += edges[e].du
            v += edges[e].dv
            at_u, at_v = loss.value(u), loss.value(v)
            value = at_u - at_v
            if value > best.bound:
                best.bound = value
            if value > best.value + best.tie:
                best.value, best.edge, best.t = value, e, 1.0
                best.tie = passed_on(loss, u, v, at_u, at_v, noise_u, noise_v)
                margin = 0.5 * noise_of(at_u, at_v)
        u, v = least_u, least_v
        for e in range(n_all):
            if peaks(loss, best.value + margin, edges[e].slope, u, v, u + edges[e].du):
                search_edge(loss, u, v, edges[e].du, edges[e].dv, e, &best)
                if best.edge == e:
                    margin = 0.5 * noise(loss, u + best.t * edges[e].du, v + best.t * edges[e].dv)
            u += edges[e].du
            v += edges[e].dv
        bound = best.value + margin
        bound = best.bound if best.bound > bound else bound
        # the items stand left of the best edge
        s.all_edges, s.n_all, s.n_edges = edges, n_all, 0
        s.right = 0
        first, slope = -1, 0.0
        u, v = least_u, least_v
        for e in range(n_all):
            i = edges[e].item
            if i < 0 or s.items[i].fine:
                continue
            s.edges[s.n_edges] = edges[e]
            s.n_edges += 1
            if e < best.edge or (e == best.edge and best.t == 1.0):
                s.items[i].level = edges[e].stop
                s.right = s.n_edges
            elif e == best.edge and best.t > 0.0:
                first = i
                if s.items[i].column >= 0:
                    k = <Py_ssize_t>floor(best.t * edges[e].stop)
                    s.items[i].level = k if k < edges[e].stop else edges[e].stop - 1
        s.left = s.right - 1
        if best.edge >= 0:
            slope = edges[best.edge].slope
        for i in range(s.n_items):
            now[i] = s.level[i] = s.items[i].level
            s.taken[i] = 0
            u += level_u(&s, i, now[i])
            v += level_v(&s, i, now[i])
        s.states[0].u, s.states[0].v = u, v
        s.states[0].parent = s.states[0].level = -1
        s.n_stages = 0
        s.value = s.threshold = -INFINITY
        s.known, s.least_u = known, least_u
        bend(&s)
        climb(loss, &s, now, u, v)
        if first >= 0 and bound > s.threshold:
            for i in range(s.n_items):
                now[i] = s.items[i].level
            k = now[first]
            now[first] = k + 1 if s.items[first].column >= 0 else edges[best.edge].stop
            u += level_u(&s, first, now[first]) - level_u(&s, first, k)
            v += level_v(&s, first, now[first]) - level_v(&s, first, k)
            climb(loss, &s, now, u, v)
        err = (4 * d + 16) * EPS
        if bound > s.threshold and max_nodes > 0:
            failed = branch(loss, &s, first, slope, max_nodes, 4 * EPS * size_u, 4 * EPS * size_v, &bound, &n_nodes)
            err += 4 * EPS * s.n_stages
        # the point
        exchange(&s, noise_u, noise_v, now)
        for i in range(s.n_items):
            k = s.level[i]
            if s.items[i].column < 0:
                now[i] = s.choices[s.items[i].first + k].column
                continue
            j = s.items[i].column
            if k == s.items[i].n_levels - 1:
                x[j] = upper[j] if x[j] == lower[j] else lower[j]
            elif k > 0:
                at = k * step[j]
                x[j] = lattice_value(x[j] + at if x[j] == lower[j] else x[j] - at, origin[j], step[j])
        for g in range(n_groups):  # the groups are the first items
            for e in range(group_start[g], group_start[g + 1] if g + 1 < n_groups else n_listed):
                x[group_column[e]] = group_on[e] if group_column[e] == now[g] else group_off[e]
        for e in range(n_all):
            if edges[e].item < 0:
                flips[n_flips].ratio, flips[n_flips].j = edges[e].slope, -1 - edges[e].item
                flips[n_flips].du, flips[n_flips].dv = edges[e].du, edges[e].dv
                n_flips += 1
        j = -1
        if n_flips > 0:
            best.edge, best.t = s.n_crossed, s.part
            if s.n_crossed == n_flips:
                best.edge, best.t = n_flips - 1, 1.0
            break_ties(flips, n_flips, noise_u, noise_v, &best.edge, &best.t)
            for e in range(best.edge + (best.t == 1.0)):
                j = flips[e].j
                x[j] = upper[j] if x[j] == lower[j] else lower[j]
            j = flips[best.edge].j if 0.0 < best.t < 1.0 else -1
        value = conclude(
            loss, theta, theta_target, y, x, j, lower[j] if j >= 0 else 0.0, upper[j] if j >= 0 else 0.0, best.t, &u, &v
        )
        # Rounding as over a box, with the slopes where they are steepest: a point anywhere on the
        # frontier may have been dropped for it. A state adds one term a stage, and thinning out
        # the states may cost `eps` a stage.
        lost_u += err * size_u
        lost_v += err * size_v
        bound = (value if value > bound else bound) + (
            loss.slope(least_u - lost_u) * lost_u + loss.slope(least_v - lost_v) * lost_v
            + 8 * EPS * (loss.value(least_u) + loss.value(least_v)))
        free(block)
        free(s.states)
    if failed:
        raise MemoryError()
    return value, bound, n_nodes

"""The hinge refit: an active-set method that ends at the exact minimiser."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY, NAN, fabs, sqrt
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

from mtpfast._core cimport DEBUG, DONE, EPS, NO_MEMORY, TOO_FAR, TOO_MANY_STEPS, grow
from mtpfast._due cimport BINS, DueRows, Metric
from mtpfast._factor cimport MarginFactor
from mtpfast._near cimport NearRows
from mtpfast._rows cimport LONG, NUDGE, MarginRows, Row, ShortRows, nudge
from mtpfast._rows import lengthened
from mtpfast._simd cimport mtp_axpy, mtp_dot

import numpy as np

#: After so many steps, or looks at rows, Ctrl-C is heard.
cdef long STEPS_APART = 32, LOOKS_APART = 1000000

#: Rows leave the margin together whose dual variables are out of bounds by this share of the worst.
cdef double SHARE = 0.1

#: The path copies the rows that so many turns may reach.
cdef double AHEAD = 10.0

cdef enum Side:
    ABOVE = 0    # margin >= 1, dual variable 0
    ON = 1       # margin 1, dual variable in [0, c]
    BELOW = 2    # margin <= 1, dual variable c


cdef struct Crossing:
    double step      # where along the line the row reaches its threshold, or before where it does not
    double jump      # what the slope gains there
    Py_ssize_t p     # its place among the rows looked at


cdef struct Look:
    Py_ssize_t i     # a row that was looked at in this step
    double slack     # its margin less its threshold, and how fast that moves along the line ...
    double rate
    double error     # ... and how far these may be off: 0 after a close look
    double spread
    double shift     # what `base` lacks to the slack, as the codes have it
    bint close


cdef inline int by_step(const Crossing *p, const Crossing *q) noexcept nogil:
    """First along the line first; where several rows cross together, the largest change of slope."""
    if p.step != q.step:
        return -1 if p.step < q.step else 1
    if p.jump != q.jump:
        return -1 if p.jump > q.jump else 1
    return -1 if p.p < q.p else (1 if p.p > q.p else 0)


cdef void sift_down(Crossing *heap, Py_ssize_t n, Py_ssize_t p) noexcept nogil:
    """Let the p-th entry sink to its place in a heap whose first entry comes first."""
    cdef Crossing moving = heap[p]
    cdef Py_ssize_t child
    while True:
        child = 2 * p + 1
        if child >= n:
            break
        if child + 1 < n and by_step(&heap[child + 1], &heap[child]) < 0:
            child += 1
        if by_step(&heap[child], &moving) >= 0:
            break
        heap[p] = heap[child]
        p = child
    heap[p] = moving


cdef void sift_up(Crossing *heap, Py_ssize_t p) noexcept nogil:
    """Let the p-th entry, the last, rise to its place in the heap."""
    cdef Crossing moving = heap[p]
    cdef Py_ssize_t parent
    while p > 0:
        parent = (p - 1) // 2
        if by_step(&moving, &heap[parent]) >= 0:
            break
        heap[p] = heap[parent]
        p = parent
    heap[p] = moving


@cython.final
cdef class HingeSolver:
    """The minimiser of the hinge objective, kept while weights and k change.

    The objective of ``losses/objective.py`` is piecewise quadratic in theta. With ``a_i = y_i x~_i`` every
    row is above, on or below the margin ``a_i . theta = 1``, and theta is optimal iff

        k R theta = sum_{below} c_i a_i + sum_{on} alpha_i a_i,     0 <= alpha_i <= c_i.

    `solve` is an active-set method for this. With the rows on the margin held there, Newton's step
    leads to the minimiser of the current piece; an exact line search goes on across as many rows
    as pay, and the row at which it ends joins the margin (it cannot depend on the rows there: the
    line runs at a right angle to them). At the minimiser of a piece the rows whose alpha is
    most out of bounds leave. Every step lowers the objective, and no path has to be followed: in real
    tables thousands of rows sit at the margin together, and one line search crosses hundreds.
    Where only one weight and k change by a little, few rows come to the margin or leave it for good, and following the
    minimiser from row to row is shorter (`_follow`); `solve` then finds nothing left to do, or does it.

    With thousands of rows at the margin the method would wander among equivalent sets of rows for
    ever, so while it works every row has a threshold of its own, 1 + `nudge`, which leaves no
    ties. `_finish` takes that back: with the same rows on the margin, held at exactly 1.

    A row far from the margin need not be looked at: its margin changes by at most its `reach` times
    the way of theta, lengths in any metric and its dual (Cauchy-Schwarz), so every row has a
    `deadline`, the length of the way before which it cannot reach its threshold. The metric
    measures a change of theta by what it does to the rows on average: `along` a few principal
    `directions` of theirs, and `across` these for each feature. The rows lie in bins by deadline.

    Invariants after every solve, to rounding (`invariants`; the debug build checks them):

        the rows on the margin are those of the factor: a_i . model = 1 + nudge_i, 0 <= alpha_i <= c_i;
        below_clean + below_added = sum_{below} c_i a_i, below_weight = sum of c_i over the clean rows there;
        a_i . model >= 1 + nudge_i above and <= 1 + nudge_i below;
        |a_i . model - 1 - nudge_i| >= reach_i (deadline_i - travelled) for the others, which lie in the bins;
        of clean rows that weigh nothing, neither side nor deadline is kept.

    A line search looks at the rows whose deadline it passes and at no others, in stages, as most
    lines end early. A long dense row is looked at through its codes first, an eighth of its bytes
    (`ShortRows`); these tell before where along the line it cannot cross, and only where the line
    gets there is its margin computed. Along the path, where turns are many and short, rows of few features
    that the next turns may reach are copied side by side (`NearRows`), and a turn reads these in order.
    Beside them it reads the rows that are due by the way of theta and also by how far theta is from the
    `anchor`, where all margins were known last.
    """

    cdef readonly MarginRows rows
    cdef readonly MarginFactor factor
    cdef readonly Metric metric
    cdef readonly DueRows due
    cdef readonly Py_ssize_t d
    cdef readonly bint free_intercept
    cdef readonly double k
    cdef double last_way
    cdef long walks_at_gather
    cdef readonly long n_steps, n_looks, n_close, n_turns
    cdef public long most_looks  # of one solve, which then ends as TOO_FAR; 0: as many as it takes
    cdef public double enough    # a value of the objective, no row added, at which a solve may end before the minimum
    cdef readonly bint too_far, reached  # how the last solve ended
    # one entry per row; `margin` is scratch
    cdef double[::1] margin
    cdef signed char[::1] side
    # the codes of long dense rows, from which follows what the way from the `anchor` has done to a slack: `base` is the
    # rest of it, NaN where not known. `farthest`: how far the model has been from the anchor; `n_wasted`: how often a
    # margin was computed since for want of precision
    cdef ShortRows short_clean, short_added
    cdef bint has_short_clean, has_short_added
    cdef double[::1] anchor, way
    cdef double farthest, way_size, step_size
    cdef long n_wasted
    # vectors of length d + 1; the sums of c_i a_i over the rows below the margin
    # (`model` is what the method moves, `exact` the model that `_finish` makes of it)
    cdef double[::1] model, exact, step, force, below_clean, below_added, unit
    cdef double below_weight, weight  # of the clean rows below the margin, and of all rows
    cdef bint joined, from_below         # whether a line search ended at a row, and where that row was
    cdef double ended                    # where the last line search ended
    cdef readonly NearRows near          # on the path, of few features: all that are due until `near_until`
    cdef double near_until, turn         # ..., and the way of a turn, lately
    cdef bint is_near
    cdef Py_ssize_t rising               # the row whose weight grows while the path is followed, else -1
    cdef double *alpha
    cdef double *beta
    cdef double *product          # what the rows on the margin make of the force, and of the rising row
    cdef double *with_rising
    cdef double[::1] pull
    cdef Crossing *crossings
    cdef Look *looks
    cdef Py_ssize_t looks_capacity

    def __cinit__(self):
        self.alpha = self.beta = self.product = self.with_rising = NULL
        self.crossings = NULL
        self.looks = NULL
        self.looks_capacity = 0

    def __dealloc__(self):
        free(self.alpha)
        free(self.beta)
        free(self.product)
        free(self.with_rising)
        free(self.crossings)
        free(self.looks)

    def __init__(self, X, const double[::1] y, bint intercept, bint penalize_intercept, metric, let_go=None):
        cdef Py_ssize_t i
        self.rows = MarginRows(X, y, intercept, let_go)
        self.d = self.rows.d
        self.factor = MarginFactor(self.rows, isinstance(X, np.ndarray))
        self.metric = Metric(*metric)
        if self.metric.across.shape[0] != self.d + 1:
            raise ValueError("HingeSolver: shapes disagree")
        self.due = DueRows(self.rows)
        self.near, self.near_until, self.turn, self.is_near = NearRows(self.rows), 0.0, 0.0, False
        self.free_intercept = intercept and not penalize_intercept
        self.k, self.enough = 1.0, -INFINITY
        self.last_way = self.farthest = self.way_size = self.step_size = self.weight = self.below_weight = 0.0
        self.rising = -1
        self.ended = 0.0
        self.n_turns = self.n_close = self.n_steps = self.n_looks = self.walks_at_gather = self.n_wasted = 0
        self.margin, self.side = np.zeros(self.rows.capacity), np.zeros(self.rows.capacity, dtype=np.int8)
        self.model, self.exact, self.step, self.force = (np.zeros(self.d + 1) for _ in range(4))
        self.below_clean, self.below_added, self.unit = (np.zeros(self.d + 1) for _ in range(3))
        self.anchor, self.way, self.pull = (np.zeros(self.d + 1) for _ in range(3))
        for i in range(self.rows.n):
            self._measure(i)
        self.short_clean = self.short_added = None
        self.has_short_clean = self.has_short_added = False
        if not self.rows.clean.sparse and self.rows.clean.single == NULL and self.rows.n > 0 and self.d >= LONG:
            self.has_short_clean = True
            self.short_clean = ShortRows(self.d)
            self.short_clean.reserve(self.rows.n)
            self.short_clean.fill(self.rows.clean.data, self.rows.n)

    cdef _reserve(self, Py_ssize_t n):
        """Room for n rows."""
        if n <= self.rows.capacity:
            return
        self.rows.reserve(n)
        n = self.rows.capacity
        self.due.reserve(n)
        self.margin, self.side = lengthened(self.margin, n), lengthened(self.side, n)
        if self.short_added is not None:
            self.short_added.reserve(n - self.rows.n_clean)

    cdef int _reserve_on(self, Py_ssize_t m) noexcept nogil:
        """Room for m rows on the margin."""
        if m <= self.factor.capacity:
            return DONE
        if self.factor.reserve(m) != DONE:
            return NO_MEMORY
        cdef size_t size = self.factor.capacity * sizeof(double)
        if (
            grow(<void **>&self.alpha, size)
            or grow(<void **>&self.beta, size)
            or grow(<void **>&self.product, size)
            or grow(<void **>&self.with_rising, size)
        ):
            return NO_MEMORY
        return DONE

    cdef bint _join(self, Py_ssize_t i) noexcept nogil:
        """Put row i on the margin; False if it depends on the rows there (nothing changed then)."""
        if not self.factor.append(i):
            return False
        self.side[i] = ON
        return True

    cdef void _refactor(self) noexcept nogil:
        """The factor from scratch; updates let it drift."""
        cdef Py_ssize_t m = self.factor.m, p, i
        self.factor.m = 0
        for p in range(m):
            i = self.factor.on[p]
            if not self._join(i):
                self.side[i] = ABOVE  # a pass gives it its side and puts it into a bin

    cdef void _measure(self, Py_ssize_t i) noexcept nogil:
        """The reach of row i, with room for rounding."""
        cdef Row *row = &self.rows.row[i]
        self.rows.unfold(i, &self.unit[0])
        row.reach = self.metric.length(&self.unit[0], True) * (1 + 1e-9) + 0.1 * NUDGE * row.norm

    # -- one step --------------------------------------------------------------------------------

    cdef inline void _count_below(self, Py_ssize_t i, double weight) noexcept nogil:
        if i < self.rows.n_clean:
            self.rows.axpy(i, weight, &self.below_clean[0])
            self.below_weight += weight
        else:
            self.rows.axpy(i, weight, &self.below_added[0])

    cdef double _find_force(self, const double *theta) noexcept nogil:
        """force := k R theta - sum_{below} c_i a_i; returns the size of what was subtracted."""
        cdef Py_ssize_t p
        cdef double scale = 0.0, s
        for p in range(self.d + 1):
            s = 0.0 if p == self.d and self.free_intercept else self.k * theta[p]
            scale += fabs(s) + fabs(self.below_clean[p]) + fabs(self.below_added[p])
            self.force[p] = s - self.below_clean[p] - self.below_added[p]
        return scale

    cdef double _find_step(self, const double *theta) noexcept nogil:
        """Newton's step from theta with the rows on the margin held there, into `step`.

        `alpha` becomes -Q (k R step + force) / k. Returns the slope force . step, or 0 if there is nowhere to go. Where
        the intercept is free and no row is on the margin, the objective is linear in it and the step is a direction
        only (see `_walk`).
        """
        cdef Py_ssize_t p, width = self.d + 1
        cdef double scale = self._find_force(theta), size = 0.0, s
        if self.free_intercept and self.factor.m == 0 and fabs(self.force[self.d]) > 1e-13 * scale:
            for p in range(self.d):
                self.step[p] = 0.0
            self.step[self.d] = -1.0 if self.force[self.d] > 0 else 1.0
            return -fabs(self.force[self.d])
        self._yield_to_force(self.k, self.alpha, NULL)
        for p in range(width):
            size += fabs(self.step[p])
        if self.k * size <= 1e-14 * scale * (width if width < 100 else 100):
            return 0.0
        s = mtp_dot(&self.force[0], &self.step[0], width)
        return s if s < -1e-40 * self.weight else 0.0  # where the model is 0, nothing else ends the steps

    cdef void _yield_to_force(self, double k, double *turned, const double *product) noexcept nogil:
        """The `step` v at a right angle to the rows on the margin with  k R v + force  in their span;
        turned := -Q (k R v + force) / k. `product`, if not NULL, is what the rows there make of the force."""
        cdef Py_ssize_t p, width = self.d + 1
        cdef double before, b, qq, left = 0.25
        cdef double *z = self.factor.z
        for p in range(width):
            self.step[p] = -self.force[p] / k
        before = mtp_dot(&self.step[0], &self.step[0], width)
        if product == NULL:
            self.factor.project(&self.step[0], z)
        else:  # to less digits, which are enough along the path
            left = 1e-6
            for p in range(self.factor.m):
                z[p] = -product[p] / k
            self.factor.forward(z)
        memcpy(turned, z, self.factor.m * sizeof(double))
        self.factor.span(-1.0, z, &self.step[0])
        if mtp_dot(&self.step[0], &self.step[0], width) < left * before:
            self.factor.project(&self.step[0], z)  # once more, against cancellation
            for p in range(self.factor.m):
                turned[p] += z[p]
            self.factor.span(-1.0, z, &self.step[0])
        if self.free_intercept:
            b = self.step[self.d]
            if self.factor.m == 0:
                self.step[self.d] = 0.0
            else:
                for p in range(width):
                    self.unit[p] = 0.0
                self.unit[self.d] = 1.0
                self.factor.project(&self.unit[0], self.factor.z)
                qq = mtp_dot(self.factor.z, self.factor.z, self.factor.m)
                mtp_axpy(self.factor.m, b / qq, self.factor.z, turned)
                self.factor.span(-1.0, self.factor.z, &self.unit[0])
                mtp_axpy(width, b / qq, &self.unit[0], &self.step[0])

    cdef double _shorten_step(self) noexcept nogil:
        """`step` where a row has just joined the margin: what is left of it, at a right angle to the row. Returns the
        slope, or 0 where too few digits are left."""
        cdef Py_ssize_t width = self.d + 1
        cdef const double *new = self.factor.newest()
        cdef double before, after
        before = mtp_dot(&self.step[0], &self.step[0], width)
        mtp_axpy(width, -mtp_dot(new, &self.step[0], width) / mtp_dot(new, new, width), new, &self.step[0])
        after = mtp_dot(&self.step[0], &self.step[0], width)
        return -self.k * after if after > 0.01 * before else 0.0

    cdef double _curve(self) noexcept nogil:
        """k v' R v for the step v."""
        return self.k * mtp_dot(&self.step[0], &self.step[0], self.d if self.free_intercept else self.d + 1)

    cdef int _walk(self, double slope, double curve) noexcept nogil:
        """Exact line search along `step` from t = 0, where the slope is slope + curve t and jumps at every row that
        crosses; the row at which it ends joins the margin."""
        cdef Py_ssize_t p, i, left, first, n_looks = 0, used = 0, joins = -1
        cdef Look *look
        cdef Crossing crossed
        cdef double f, end, best, stage
        cdef bint truncated = False
        f = self.metric.length(&self.step[0], False)
        self.joined = False
        end = -slope / curve if curve > 0.0 else INFINITY
        if end * f > self.due.horizon - self.due.travelled:
            end, truncated = (self.due.horizon - self.due.travelled) / f, True
            if end < 0.0:
                end = 0.0
        if (self.has_short_clean or self.has_short_added) and self.n_wasted > self.rows.n // 4 + 256:
            self._drop_anchor()
        self._load()
        # Most lines end long before `end`, so the rows are looked at in stages: first those that
        # can cross within a little more than the last way, then four times as far, ...
        stage = 2.0 * self.last_way / f
        if not stage > 1e-9 * end:
            stage = 1e-9 * end
        left = 0  # the heap of crossings still ahead; few of many are needed in order
        best = end
        while True:
            if stage > 0.7 * end:
                stage = end
            first = n_looks
            i = self.due.take(self.due.travelled + f * stage)
            while i >= 0:
                if n_looks >= self.looks_capacity - used and self._reserve_looks(used) != DONE:
                    return NO_MEMORY
                self._prefetch(i)
                self.looks[n_looks].i = i
                n_looks += 1
                i = self.due.next[i]
            for p in range(first, n_looks):
                self._look(p, end, f, &left)
            while left > 0 and self.crossings[0].step <= stage:
                crossed = self.crossings[0]
                if not self.looks[crossed.p].close:
                    if slope + curve * crossed.step >= 0.0:
                        break
                    left -= 1
                    self.crossings[0] = self.crossings[left]
                    sift_down(self.crossings, left, 0)
                    self._look_closely(crossed.p, end, f, &left)
                    continue
                if slope + curve * crossed.step >= 0.0:
                    break
                if slope + curve * crossed.step + crossed.jump >= 0.0:
                    best, joins = crossed.step, self.looks[crossed.p].i
                    break
                slope += crossed.jump
                left -= 1
                self.crossings[0] = self.crossings[left]
                sift_down(self.crossings, left, 0)
                # those crossed gather at the other end of the same array
                used += 1
                self.crossings[self.looks_capacity - used] = crossed
            if joins >= 0:
                break
            if slope + curve * stage >= 0.0:
                best = -slope / curve if curve > 0.0 else stage
                break
            if stage >= end:
                break
            stage *= 4.0
        if best < 0.0:
            best = 0.0
        mtp_axpy(self.d + 1, best, &self.step[0], &self.model[0])
        self.due.travelled += best * f
        self.last_way = best * f
        self.ended = best
        for p in range(n_looks):
            look = &self.looks[p]
            i = look.i
            if look.close:
                self.due.note(i, look.slack + best * look.rate)
            else:
                self.due.set_deadline(i, fabs(look.slack + best * look.rate) - look.error - best * look.spread)
            if i != joins:
                self.due.put(i)
        self.n_looks += n_looks
        for p in range(self.looks_capacity - used, self.looks_capacity):
            i = self.looks[self.crossings[p].p].i
            if self.side[i] == ABOVE:
                self.side[i] = BELOW
                self._count_below(i, self.rows.row[i].c)
            else:
                self.side[i] = ABOVE
                self._count_below(i, -self.rows.row[i].c)
        if joins >= 0:
            i = joins
            if self._reserve_on(self.factor.m + 1) != DONE:
                return NO_MEMORY
            self.from_below = self.side[i] == BELOW
            if self.from_below:
                self._count_below(i, -self.rows.row[i].c)
            if self._join(i):
                if used == 0 and not self.free_intercept:  # the same force, then, and less of it left
                    for p in range(self.d + 1):
                        self.step[p] *= 1.0 - best
                    self.joined = True
            else:  # numerically dependent after all: let it cross
                if self.side[i] == ABOVE:
                    self.side[i] = BELOW
                    self._count_below(i, self.rows.row[i].c)
                else:
                    self.side[i] = ABOVE
                self.due.put(i)
        elif truncated and best == end or self.due.n_sifted > 4 * self.rows.n + 4096:
            if curve <= 0.0 and truncated:  # a slope that never ends may be what rounding left of sums that cancelled
                self._sum_below()
            self._gather(0.0)
        return DONE

    cdef int _reserve_looks(self, Py_ssize_t used) noexcept nogil:
        """More room for rows that are looked at; the `used` crossings at the other end stay there."""
        cdef Py_ssize_t have = self.looks_capacity, n = 2 * have + 256
        if grow(<void **>&self.crossings, n * sizeof(Crossing)) or grow(<void **>&self.looks, n * sizeof(Look)):
            return NO_MEMORY
        memmove(self.crossings + n - used, self.crossings + have - used, used * sizeof(Crossing))
        self.looks_capacity = n
        return DONE

    cdef void _load(self) noexcept nogil:
        """Prepare first looks along `step`."""
        cdef Py_ssize_t p
        if not (self.has_short_clean or self.has_short_added):
            return
        for p in range(self.d + 1):
            self.way[p] = self.model[p] - self.anchor[p]
        self.way_size = sqrt(mtp_dot(&self.way[0], &self.way[0], self.d))
        self.step_size = sqrt(mtp_dot(&self.step[0], &self.step[0], self.d))
        if self.way_size > self.farthest:
            self.farthest = self.way_size
        if self.has_short_clean:
            self.short_clean.load(&self.way[0], &self.step[0])
        if self.has_short_added:
            self.short_added.load(&self.way[0], &self.step[0])

    cdef inline void _prefetch(self, Py_ssize_t i) noexcept nogil:
        """Ask for what `_look` will read."""
        if self.has_short_clean and i < self.rows.n_clean:
            self.short_clean.prefetch(i)
        elif self.has_short_added and i >= self.rows.n_clean:
            self.short_added.prefetch(i - self.rows.n_clean)
        else:
            self.rows.prefetch(i)

    cdef inline void _look(self, Py_ssize_t p, double end, double f, Py_ssize_t *left) noexcept nogil:
        """What the codes of a row tell of its margin; where that may cross its threshold before `end`, wait."""
        cdef Look *look = &self.looks[p]
        cdef Py_ssize_t i = look.i
        cdef Row *row = &self.rows.row[i]
        cdef double both[2]
        cdef double error, gap, speed
        look.shift = 0.0
        if i < self.rows.n_clean and self.has_short_clean:
            error = self.short_clean.look(i, both)
        elif i >= self.rows.n_clean and self.has_short_added:
            error = self.short_added.look(i - self.rows.n_clean, both)
        else:
            self._look_closely(p, end, f, left)
            return
        if self.rows.intercept:
            both[0] += self.way[self.d]
            both[1] += self.step[self.d]
        look.shift = row.y * both[0]
        look.rate = row.y * both[1]
        look.spread = error * self.step_size
        if row.stamp == self.due.travelled:
            look.slack, look.error = row.slack, 0.0
        elif row.base == row.base:
            look.slack, look.error = row.base + look.shift, error * (self.way_size + self.farthest) + 0.1 * NUDGE
        else:
            self._look_closely(p, end, f, left)
            return
        look.close = False
        if self.side[i] == ABOVE:
            gap, speed = look.slack - look.error, look.spread - look.rate
        else:
            gap, speed = -look.slack - look.error, look.spread + look.rate
        if gap > 0.0 and gap >= end * speed:
            return
        self._foresee(p, gap / speed if gap > 0.0 else 0.0, 0.0, left)

    cdef inline void _look_closely(self, Py_ssize_t p, double end, double f, Py_ssize_t *left) noexcept nogil:
        """Compute the margin of a row, and where it crosses along `step`, if before `end`."""
        cdef Look *look = &self.looks[p]
        cdef Py_ssize_t i = look.i
        cdef Row *row = &self.rows.row[i]
        cdef double both[2]
        cdef double rate, at, noise = 32 * EPS * f * row.reach
        cdef bint coded = self.has_short_clean if i < self.rows.n_clean else self.has_short_added
        self.n_close += 1
        if row.stamp == self.due.travelled:  # its margin is known
            rate = self.rows.dot(i, &self.step[0])
        else:
            self.rows.dot2(i, &self.model[0], &self.step[0], both)
            row.slack = both[0] - 1.0 - nudge(i)
            rate = both[1]
        if coded:
            row.base = row.slack - look.shift
        look.slack, look.rate, look.close = row.slack, rate, True
        self.n_wasted += coded
        if (self.side[i] == ABOVE and rate >= -noise) or (self.side[i] == BELOW and rate <= noise):
            return
        at = -row.slack / rate
        if at > end:
            return
        self.n_wasted -= coded
        self._foresee(p, at if at > 0.0 else 0.0, INFINITY if i == self.rising else row.c * fabs(rate), left)

    cdef inline void _foresee(self, Py_ssize_t p, double step, double jump, Py_ssize_t *left) noexcept nogil:
        """Put a crossing onto the heap of those still ahead."""
        cdef Crossing *crossing = &self.crossings[left[0]]
        crossing.step, crossing.jump, crossing.p = step, jump, p
        left[0] += 1
        sift_up(self.crossings, left[0] - 1)

    cdef void _gather(self, double ahead) noexcept nogil:
        """Put all rows into new bins, of the width that theta lately went in two line searches; at least `ahead` in
        all."""
        cdef Py_ssize_t i
        cdef long n_walks = self.n_steps + self.n_turns
        cdef double way = (self.due.travelled - self.due.gathered_at) / (n_walks - self.walks_at_gather + 1)
        way = 0.5 * way if way > 0.0 else 1e-3 * (1.0 + self.last_way)
        self.due.clear(way if way > 2.0 / BINS * ahead else 2.0 / BINS * ahead)
        self.walks_at_gather = n_walks
        for i in range(self.rows.n):
            if self.side[i] != ON and not self._is_idle(i):
                self.due.put(i)

    cdef inline bint _is_idle(self, Py_ssize_t i) noexcept nogil:
        """Whether a row weighs nothing, and will not before `set_weights`: its side is of no account."""
        return i < self.rows.n_clean and self.rows.row[i].c == 0.0

    cdef inline double _excess(self, Py_ssize_t p) noexcept nogil:
        """How far the dual variable of the p-th row on the margin is out of [0, c]."""
        return -self.alpha[p] if self.alpha[p] < 0.0 else self.alpha[p] - self.rows.row[self.factor.on[p]].c

    cdef double _find_alpha(self, double slack) noexcept nogil:
        """The dual variables of the rows on the margin, after `_find_step`; returns the largest excess, 0 if none
        counts."""
        cdef Py_ssize_t p
        cdef double most = 0.0, off
        for p in range(self.factor.m):
            self.alpha[p] *= -self.k
        self.factor.backward(self.alpha)
        for p in range(self.factor.m):
            off = self._excess(p)
            if off > slack * (1.0 + self.rows.row[self.factor.on[p]].c) and off > most:
                most = off
        return most

    cdef void _drop(self, double least, bint first) noexcept nogil:
        """Rows whose dual variable is out of bounds by ``least`` leave the margin (or the first of them)."""
        cdef Py_ssize_t p
        for p in range(self.factor.m - 1, -1, -1):
            if self._excess(p) < least:
                continue
            self._leave(p, ABOVE if self.alpha[p] < 0.0 else BELOW)
            if first:
                break

    cdef void _leave(self, Py_ssize_t p, Side to) noexcept nogil:
        """The p-th row leaves the margin."""
        cdef Py_ssize_t i = self.factor.on[p]
        self.side[i] = to
        if to == BELOW:
            self._count_below(i, self.rows.row[i].c)
        self.factor.remove(p)
        if self.is_near:
            self.near.put(i, 0.0, -1.0 if to == BELOW else 1.0)  # for which there is room
            return
        self.due.note(i, 0.0)
        self.due.put(i)

    # -- the rows near the path --------------------------------------------------------------------

    cdef void _let_go(self, double until) noexcept nogil:
        """Put the rows that were copied, and are not due before theta has travelled so far, back into the bins."""
        cdef Py_ssize_t p, i
        for p in range(self.near.n - 1, -1, -1):
            i = self.near.row[p]
            if self.side[i] != ON:
                self.due.note(i, self.near.slack[p])
                if self.rows.row[i].deadline <= until:
                    continue
                if self.near.sign[p] == 0.0:  # of no weight
                    self.side[i] = BELOW if self.near.slack[p] < 0.0 else ABOVE
                self.due.put(i)
            self.near.drop(p)

    cdef int _come_near(self, double ahead) noexcept nogil:
        """Have copies of the rows that are due before theta has gone `ahead`, and of no others."""
        cdef Py_ssize_t i, follower, p, n
        cdef double sign, moved
        cdef Row *row
        if self.due.travelled + ahead > self.due.horizon or self.due.n_sifted > 4 * self.rows.n + 4096:
            self._let_go(-INFINITY)
            self._gather(ahead)
        self.near_until = self.due.travelled + ahead
        self._let_go(self.near_until)
        for p in range(self.d + 1):
            self.unit[p] = self.model[p] - self.anchor[p]
        moved = self.metric.length(&self.unit[0], False)
        i, n = self.due.take(self.near_until), 0
        while i >= 0:
            row, follower = &self.rows.row[i], self.due.next[i]
            # models go to and fro: a row may be due by the way, and not by how far the model is from the anchor
            if row.stamp != self.due.travelled:
                self.due.set_deadline(i, fabs(row.base) - moved * row.reach)
            if row.deadline > self.near_until:
                self.due.put(i)
            else:
                if n == self.looks_capacity and self._reserve_looks(0) != DONE:
                    return NO_MEMORY
                self.rows.prefetch(i)
                self.looks[n].i = i
                n += 1
            i = follower
        for p in range(n):
            i = self.looks[p].i
            row = &self.rows.row[i]
            if row.stamp != self.due.travelled:
                self.due.note(i, self.rows.dot(i, &self.model[0]) - 1.0 - nudge(i))
                self.n_looks += 1
            else:
                self.due.set_deadline(i, fabs(row.slack))
            if row.deadline > self.near_until:
                self.n_wasted += 1
                self.due.put(i)
            else:
                sign = 0.0 if row.c == 0.0 and i != self.rising else (1.0 if self.side[i] == ABOVE else -1.0)
                if self.near.append(i, row.slack, sign) != DONE:
                    return NO_MEMORY
        return DONE

    cdef int _walk_near(self, double end) noexcept nogil:
        """Along `step` to the first row that comes to its threshold, which joins the margin, or to the end."""
        cdef Py_ssize_t p, i
        cdef double f = self.metric.length(&self.step[0], False), best, ahead = AHEAD * self.turn
        while True:
            best = end
            self.near.turn(&self.step[0])
            p = self.near.first(32 * EPS * f, &best)
            if not self.due.travelled + f * best > self.near_until:
                break
            if self._come_near(ahead) != DONE:
                return NO_MEMORY
            ahead = 4.0 * ahead if ahead > 0.0 else self.due.bin_width
        mtp_axpy(self.d + 1, best, &self.step[0], &self.model[0])
        self.near.move(best)
        self.due.travelled += best * f
        self.last_way = best * f
        self.ended = best
        self.turn += 0.1 * (self.last_way - self.turn)
        self.n_looks += self.near.n
        if self.near.reserve(self.near.n + 1) != DONE:
            return NO_MEMORY
        if p < 0:
            return DONE
        if self._reserve_on(self.factor.m + 1) != DONE:
            return NO_MEMORY
        i = self.near.row[p]
        self.near.slack[p] = 0.0
        self.from_below = self.side[i] == BELOW
        if self.from_below:
            self._count_below(i, -self.rows.row[i].c)
        if self._join(i):
            self.near.sign[p] = 0.0
        else:  # numerically dependent after all: let it cross
            self.side[i], self.near.sign[p] = (ABOVE, 1.0) if self.from_below else (BELOW, -1.0)
            if self.side[i] == BELOW:
                self._count_below(i, self.rows.row[i].c)
        return DONE

    cdef int _follow(self, Py_ssize_t j, double dc, double dk) noexcept nogil:
        """Follow the minimiser while c_j and k grow, from the model, which is the minimiser here, as far as it leads.

        At the time t in [0, 1], k_t = k + t dk and s_t = sum_{below} c_i a_i + t dc a_j (where j is below),

            k_t R theta_t = s_t + sum_{on} alpha_i(t) a_i,    a_i . theta_t  as it is for the rows on the margin.

        So theta_t = theta + t / k_t v and alpha(t) = alpha + t beta, where v is at a right angle to the rows on the
        margin and  R v + g = sum_{on} beta_i a_i,  g = dk R theta - dc a_j:  up to the first row that reaches its
        threshold and joins the margin, or the first alpha that reaches a bound and whose row leaves. Rows with ties may
        come and go without end: after so many of them, `_solve` does what is left to do.
        """
        cdef Py_ssize_t p, i, out, m, _, width = self.d + 1
        cdef double t, done = 0.0, reach, b
        cdef Row *row = &self.rows.row[j]
        cdef bint upwards = False
        if self.free_intercept and self.factor.m == 0:
            return DONE
        self.is_near, self.near_until = self.d < LONG, -INFINITY
        if self.is_near and self.n_wasted > self.rows.n and not self.rows.mapped:
            self._pass()  # an anchor from here
        self._find_force(&self.model[0])
        self.factor.project(&self.force[0], self.factor.z)
        memcpy(self.alpha, self.factor.z, self.factor.m * sizeof(double))
        self.factor.backward(self.alpha)
        self.rising = j
        # without Q: a_i . g from a_i . theta, which is known, and a_i . a_j
        cdef bint short = not self.factor.keep_Q and not self.free_intercept
        if short:
            self.rows.unfold(j, &self.pull[0])
            for p in range(self.factor.m):
                self.with_rising[p] = self.rows.dot(self.factor.on[p], &self.pull[0])
        for _ in range(100 + 4 * self.factor.m):
            m = self.factor.m
            for p in range(width):
                self.force[p] = 0.0 if p == self.d and self.free_intercept else dk * self.model[p]
            if self.side[j] == BELOW:
                self.rows.axpy(j, -dc, &self.force[0])
            if short:
                for p in range(m):
                    self.product[p] = dk * (1.0 + nudge(self.factor.on[p]))
                    if self.side[j] == BELOW:
                        self.product[p] -= dc * self.with_rising[p]
            self._yield_to_force(1.0, self.beta, self.product if short else NULL)
            for p in range(m):
                self.beta[p] = -self.beta[p]
            self.factor.backward(self.beta)
            t, out = 1.0 - done, -1
            for p in range(m):
                i = self.factor.on[p]
                if self.beta[p] < 0.0 and self.alpha[p] + t * self.beta[p] < 0.0:
                    t, out, upwards = -self.alpha[p] / self.beta[p], p, False
                    t = 0.0 if t < 0.0 else t
                b = self.beta[p] - dc if i == j else self.beta[p]
                if b > 0.0 and self.alpha[p] + t * b > self.rows.row[i].c:
                    t, out, upwards = (self.rows.row[i].c - self.alpha[p]) / b, p, True
                    t = 0.0 if t < 0.0 else t
            reach = t / (self.k + t * dk)
            self.n_turns += 1
            if (self._walk_near(reach) if self.is_near else self._walk(-1e-200 * reach, 1e-200)) != DONE:
                self.is_near = False
                return NO_MEMORY
            self.joined = False
            if self.factor.m > m or self.ended < reach * (1.0 - 4 * EPS):
                t, out = self.k * self.ended / (1.0 - self.ended * dk), -1
            done += t
            self.k += t * dk
            row.c += t * dc
            self.weight += t * dc
            if self.side[j] == BELOW:
                self._count_below(j, t * dc)
            for p in range(m):
                self.alpha[p] += t * self.beta[p]
            if self.factor.m > m:
                self.alpha[m] = self.rows.row[self.factor.on[m]].c if self.from_below else 0.0
                if short:
                    self.with_rising[m] = self.rows.dot(self.factor.on[m], &self.pull[0])
            elif out >= 0:
                self._leave(out, BELOW if upwards else ABOVE)
                memmove(self.alpha + out, self.alpha + out + 1, (m - 1 - out) * sizeof(double))
                memmove(self.with_rising + out, self.with_rising + out + 1, (m - 1 - out) * sizeof(double))
            elif done >= 1.0:
                break
        self._let_go(-INFINITY)
        self.is_near, self.rising = False, -1
        return DONE

    cdef double _value(self) noexcept nogil:
        """The objective at the model, rows on the margin at 1, no row added."""
        cdef const double *theta = &self.model[0]
        cdef Py_ssize_t width = self.d if self.free_intercept else self.d + 1
        return (
            self.below_weight - mtp_dot(&self.below_clean[0], theta, self.d + 1)
            + 0.5 * self.k * mtp_dot(theta, theta, width)
        )

    cdef int _solve(self) except -1 nogil:
        cdef long steps = 0, drops = 0, looks = self.n_looks, last = self.n_looks + self.most_looks
        self.too_far = self.reached = False
        cdef double slope, most, before
        self._restore()
        self.joined, before = False, -1.0
        if self._find_step(&self.model[0]) < 0.0:
            # rows that are bound to leave need not be led along first
            most = self._find_alpha(100 * NUDGE)
            if most > 0.0:
                self._drop(most * SHARE, False)
        while steps < 2000 + 20 * self.rows.n:
            if self.most_looks > 0 and self.n_looks > last:
                self.too_far = True
                self._finish()
                return TOO_FAR
            if self.enough > -INFINITY and self._value() <= self.enough:
                self.reached = True
                self._finish()
                return TOO_FAR
            steps += 1
            if steps % STEPS_APART == 0 or self.n_looks - looks > LOOKS_APART:
                looks = self.n_looks
                with gil:
                    PyErr_CheckSignals()
            slope = self._shorten_step() if self.joined else 0.0
            self.joined = False
            if slope == 0.0:
                slope = self._find_step(&self.model[0])
            if slope < 0.0:
                self.n_steps += 1
                if self._walk(slope, self._curve()) != DONE:
                    return NO_MEMORY
                continue
            # Ties can make rows leave and come back for ever: with time, be less choosy.
            most = self._find_alpha(NUDGE * 10.0 ** (drops // 200 if drops < 1600 else 8))
            if most == 0.0:
                self._finish()
                return DONE
            drops += 1
            # Several rows may leave together; where that led nowhere, one alone surely lowers the objective.
            self._drop(most * SHARE if self.due.travelled > before else most, drops > 100)
            before = self.due.travelled
        self._finish()
        return TOO_MANY_STEPS

    cdef void _drop_anchor(self) noexcept nogil:
        """Let the codes count from here. No slack is known from them until its margin is computed once."""
        cdef Py_ssize_t i
        memcpy(&self.anchor[0], &self.model[0], (self.d + 1) * sizeof(double))
        self.farthest, self.n_wasted = 0.0, 0
        for i in range(self.rows.n):
            self.rows.row[i].base = NAN

    cdef void _finish(self) noexcept nogil:
        """The exact model and its dual variables: the rows on the margin at 1, no nudge."""
        cdef Py_ssize_t p
        cdef double c
        memcpy(&self.exact[0], &self.model[0], (self.d + 1) * sizeof(double))
        for p in range(self.factor.m):
            self.factor.z[p] = 1.0 - self.rows.dot(self.factor.on[p], &self.model[0])
        self.factor.forward(self.factor.z)
        self.factor.span(1.0, self.factor.z, &self.exact[0])
        if self.free_intercept and self.factor.m > 0:
            # only w is penalised, so moving along the rows on the margin unbalances the rest
            self._find_step(&self.exact[0])
            mtp_axpy(self.d + 1, 1.0, &self.step[0], &self.exact[0])
        self._find_force(&self.exact[0])
        self.factor.project(&self.force[0], self.factor.z)
        memcpy(self.alpha, self.factor.z, self.factor.m * sizeof(double))
        self.factor.backward(self.alpha)
        for p in range(self.factor.m):
            c = self.rows.row[self.factor.on[p]].c
            self.alpha[p] = 0.0 if self.alpha[p] < 0.0 else (c if self.alpha[p] > c else self.alpha[p])

    cdef void _restore(self) noexcept nogil:
        """Take back what rounding has moved the rows on the margin off their thresholds."""
        cdef Py_ssize_t p
        for p in range(self.factor.m):
            self.factor.z[p] = 1.0 + nudge(self.factor.on[p]) - self.rows.dot(self.factor.on[p], &self.model[0])
        self.factor.forward(self.factor.z)
        memset(&self.unit[0], 0, (self.d + 1) * sizeof(double))
        self.factor.span(1.0, self.factor.z, &self.unit[0])
        mtp_axpy(self.d + 1, 1.0, &self.unit[0], &self.model[0])
        self.due.travelled += self.metric.length(&self.unit[0], False)

    cdef void _pass(self) noexcept nogil:
        """One pass over the data: all margins, and all deadlines from here."""
        cdef Py_ssize_t i
        self._restore()
        self.rows.margins(&self.model[0], &self.margin[0])
        self.due.gathered_at -= self.due.travelled
        self.due.travelled = 0.0
        self._drop_anchor()
        for i in range(self.rows.n):
            self.due.note(i, self.margin[i] - 1.0 - nudge(i))
            self.rows.row[i].base = self.rows.row[i].slack
        self._gather(0.0)

    cdef void _sum_below(self) noexcept nogil:
        cdef Py_ssize_t i, p
        for p in range(self.d + 1):
            self.below_clean[p] = self.below_added[p] = 0.0
        self.below_weight = 0.0
        for i in range(self.rows.n):
            if self.side[i] == BELOW:
                self._count_below(i, self.rows.row[i].c)

    # -- calls from Python -----------------------------------------------------------------------

    @property
    def n_rows(self):
        """The clean rows and the added ones."""
        return self.rows.n

    def invariants(self):
        """What is out of order, one sentence each; nothing is changed. One pass over the data."""
        cdef Py_ssize_t i, p
        cdef double off, allowance, size = sqrt(mtp_dot(&self.model[0], &self.model[0], self.d + 1)), weight = 0.0
        cdef double scale = 0.0, drift = self.factor.drift(&self.unit[0])
        cdef Row *row
        cdef double[::1] below = np.zeros(self.d + 1)
        found = []
        bins = {i: b for b, rows in self.due.members().items() for i in rows}
        self.rows.margins(&self.model[0], &self.margin[0])
        if not drift <= 100 * NUDGE:
            found.append(f"the factor is off by {drift:.1e}")
        on = {self.factor.on[p] for p in range(self.factor.m)}
        for i in range(self.rows.n):
            row = &self.rows.row[i]
            off = self.margin[i] - 1.0 - nudge(i)
            allowance = 3 * NUDGE + 64 * EPS * row.norm * size
            scale += row.c * row.norm
            if (self.side[i] == ON) != (i in on):
                found.append(f"row {i} is on the margin and not in the factor, or the reverse")
            if self.side[i] == ON:
                if not fabs(off) <= allowance:
                    found.append(f"row {i} on the margin is off it by {off:.1e}")
                if i in bins:
                    found.append(f"row {i} on the margin lies in a bin")
                continue
            if self._is_idle(i):
                continue
            if self.side[i] == BELOW:
                self.rows.axpy(i, row.c, &below[0])
                weight += row.c if i < self.rows.n_clean else 0.0
            if not (off >= -allowance if self.side[i] == ABOVE else off <= allowance):
                found.append(f"row {i} is on the wrong side of the margin by {off:.1e}")
            if row.reach > 0.0 and not fabs(off) >= row.reach * (row.deadline - self.due.travelled) - allowance:
                found.append(f"row {i} is nearer to the margin, {off:.1e}, than its deadline says")
            if bins.get(i, BINS) != self.due.bin(row.deadline) and row.deadline < self.due.horizon:
                found.append(f"row {i} does not lie in the bin of its deadline")
        for p in range(self.d + 1):
            off = self.below_clean[p] + self.below_added[p] - below[p]
            if not fabs(off) <= 100 * NUDGE * scale:
                found.append(f"the sum over the rows below is off by {off:.1e} in feature {p}")
        if not fabs(weight - self.below_weight) <= 100 * NUDGE * self.weight:
            found.append(f"the weight of the rows below is off by {weight - self.below_weight:.1e}")
        for p in range(self.factor.m):
            if not 0.0 <= self.alpha[p] <= self.rows.row[self.factor.on[p]].c:
                found.append(f"alpha of row {self.factor.on[p]} is {self.alpha[p]}")
        return found

    cdef _settled(self, int outcome):
        """In the debug build: the invariants hold where a solve has come to its end."""
        if DEBUG and outcome == DONE:
            found = self.invariants()
            if found:
                raise RuntimeError("HingeSolver: " + "; ".join(found[:5]))

    def set_weights(self, const double[::1] c, double k):
        """Set the weights of all rows, and k. `start` must follow."""
        cdef Py_ssize_t i
        if c.shape[0] != self.rows.n:
            raise ValueError("set_weights: shapes disagree")
        self.k, self.weight = k, 0.0
        for i in range(self.rows.n):
            self.rows.row[i].c = c[i]
            self.weight += c[i]

    def descend(self, double tol, int max_epochs, unsigned long long seed=1):
        """A first model by dual coordinate descent, the intercept penalised.

        Hsieh et al., "A Dual Coordinate Descent Method for Large-scale Linear SVM", ICML 2008:
        rows in random order, those that sit firmly at a bound left out. Stops when no margin is
        off by more than ``tol``. Returns the number of epochs. `start` must follow.
        """
        cdef Py_ssize_t n = self.rows.n, active = n, i, s, swap, p
        cdef Py_ssize_t[::1] order = np.arange(n)
        cdef double[::1] alpha = np.zeros(n)
        cdef double firm = INFINITY, worst, g, old, new, top
        cdef int epoch = 0
        cdef unsigned long long state = seed * 2685821657736338717ULL + 88172645463325252ULL
        with nogil:
            for p in range(self.d + 1):
                self.model[p] = 0.0
            while epoch < max_epochs:
                worst = 0.0
                for s in range(active):
                    state ^= state << 13
                    state ^= state >> 7
                    state ^= state << 17
                    swap = s + <Py_ssize_t>(state % <unsigned long long>(active - s))
                    order[s], order[swap] = order[swap], order[s]
                s = 0
                while s < active:
                    i = order[s]
                    old, top = alpha[i], self.rows.row[i].c
                    if top <= 0.0 or self.rows.row[i].norm <= 0.0:
                        active -= 1
                        order[s], order[active] = order[active], order[s]
                        continue
                    g = self.rows.dot(i, &self.model[0]) - 1.0
                    if (old <= 0.0 and g > firm) or (old >= top and -g > firm):
                        active -= 1
                        order[s], order[active] = order[active], order[s]
                        continue
                    s += 1
                    if (old > 0.0 or g < 0.0) and (old < top or g > 0.0):
                        if fabs(g) > worst:
                            worst = fabs(g)
                        new = old - g * self.k / (self.rows.row[i].norm * self.rows.row[i].norm)
                        new = 0.0 if new < 0.0 else (top if new > top else new)
                        if new != old:
                            alpha[i] = new
                            self.rows.axpy(i, (new - old) / self.k, &self.model[0])
                epoch += 1
                with gil:
                    PyErr_CheckSignals()
                firm = worst if worst > 0.0 else INFINITY
                if worst <= tol:
                    if active == n:
                        break
                    active, firm = n, INFINITY  # all rows once more before believing it
        return epoch

    def start(self, theta=None, sides=None):
        """Solve from theta (default: from where the model is). Returns an Outcome (0: solved).

        ``sides``: where every row is thought to be at the solution near theta (0 above the margin, 1 on it, 2 below).
        """
        cdef const double[::1] given
        cdef const signed char[::1] near
        cdef Py_ssize_t i
        cdef int outcome = DONE
        if theta is not None:
            given = theta
            if given.shape[0] != self.d + 1:
                raise ValueError("start: shapes disagree")
            memcpy(&self.model[0], &given[0], (self.d + 1) * sizeof(double))
        if sides is not None:
            near = sides
            if near.shape[0] != self.rows.n:
                raise ValueError("start: shapes disagree")
        with nogil:
            self.factor.m = 0
            if sides is None:
                for i in range(self.rows.n):
                    self.side[i] = ABOVE
                self._pass()
                for i in range(self.rows.n):
                    self.side[i] = BELOW if self.margin[i] < 1.0 + nudge(i) else ABOVE
            else:
                outcome = self._stand(&near[0])
            if outcome == DONE:
                self._sum_below()
                outcome = self._solve()
        self._settled(outcome)
        return outcome

    cdef int _stand(self, const signed char *near) noexcept nogil:
        """Rows on given sides, the model at the minimiser of that piece, and all margins; rows that are not where they
        were said to be change sides."""
        cdef Py_ssize_t i
        cdef double size, allowance
        for i in range(self.rows.n):
            self.side[i] = near[i] if near[i] != ON else ABOVE
        for i in range(self.rows.n):
            if near[i] == ON:
                if self._reserve_on(self.factor.m + 1) != DONE:
                    return NO_MEMORY
                self._join(i)
        self._sum_below()
        self._restore()
        if self._find_step(&self.model[0]) < 0.0 and not (self.free_intercept and self.factor.m == 0):
            mtp_axpy(self.d + 1, 1.0, &self.step[0], &self.model[0])
        self._pass()
        size = sqrt(mtp_dot(&self.model[0], &self.model[0], self.d + 1))
        for i in range(self.rows.n):
            allowance = 3 * NUDGE + 64 * EPS * self.rows.row[i].norm * size
            if self.side[i] != ON and fabs(self.margin[i] - 1.0) > allowance:
                self.side[i] = BELOW if self.margin[i] < 1.0 else ABOVE
        return DONE

    def set_added(self, X, Py_ssize_t n):
        """Use the first n rows of X (dense or CSR like the clean rows) as the added rows.

        Called after the caller's buffer has moved or grown; rows seen before must be unchanged.
        """
        self.rows.set_added(X)
        self._reserve(self.rows.n_clean + n)

    def append(self, double y):
        """Take in the next added row, with weight 0. Returns its index."""
        cdef Py_ssize_t i = self.rows.n
        self._reserve(i + 1)
        self.rows.add(y)
        self._measure(i)
        self.rows.row[i].base = NAN
        self._code(i - self.rows.n_clean)
        self.due.note(i, self.rows.dot(i, &self.model[0]) - 1.0 - nudge(i))
        self.side[i] = BELOW if self.rows.row[i].slack < 0.0 else ABOVE
        self.due.put(i)
        return i

    cdef _code(self, Py_ssize_t i):
        """Code the i-th added row; the first few settle how far the codes reach."""
        cdef Py_ssize_t p
        if self.rows.added.sparse or self.d < LONG:
            return
        if self.short_added is None:
            self.short_added = ShortRows(self.d)
            self.short_added.reserve(self.rows.capacity - self.rows.n_clean)
            self.has_short_added = True
        if i < 64 and self.short_added.widen(self.rows.added.data + i * self.d):
            for p in range(i):
                self.short_added.code(p, self.rows.added.data + p * self.d)
                self.rows.row[self.rows.n_clean + p].base = NAN
        self.short_added.code(i, self.rows.added.data + i * self.d)

    def raise_weight(self, Py_ssize_t j, double dc, double dk):
        """Let c_j grow by dc and k by dk, and solve. Returns an Outcome (0: solved)."""
        cdef int outcome
        if not 0 <= j < self.rows.n:
            raise ValueError("raise_weight: no such row")
        cdef Row *row = &self.rows.row[j]
        cdef double c = row.c + dc, k = self.k + dk, weight = self.weight + dc
        with nogil:
            self._restore()
            outcome = self._follow(j, dc, dk)
            if self.side[j] == BELOW:
                self._count_below(j, c - row.c)
            row.c, self.k, self.weight = c, k, weight
            if outcome == DONE:
                outcome = self._solve()
        self._settled(outcome)
        return outcome

    def renew(self, Py_ssize_t i, double y):
        """Take in an added row of weight 0 anew: its numbers in the memory shown by `set_added` are others now."""
        cdef Py_ssize_t p
        if not self.rows.n_clean <= i < self.rows.n or self.rows.row[i].c != 0.0:
            raise ValueError("renew: no added row of weight 0")
        cdef const double *data = self.rows.added.data
        for p in range(self.factor.m):
            if self.factor.on[p] == i:
                self.factor.remove(p)
                break
        self.rows.row[i].y = y
        self.rows.measure(i)
        self._measure(i)
        self.rows.row[i].base = NAN
        if self.short_added is not None:
            p = i - self.rows.n_clean
            if self.short_added.widen(data + p * self.d):  # the codes of all of them reach further now
                for p in range(self.rows.n - self.rows.n_clean):
                    self.short_added.code(p, data + p * self.d)
                    self.rows.row[self.rows.n_clean + p].base = NAN
            else:
                self.short_added.code(p, data + p * self.d)
        self.due.note(i, self.rows.dot(i, &self.model[0]) - 1.0 - nudge(i))
        self.side[i] = BELOW if self.rows.row[i].slack < 0.0 else ABOVE
        self._gather(0.0)  # the bins may hold the row where it stood

    def shift_weights(self, const Py_ssize_t[::1] rows, const double[::1] dc, double dk):
        """Let the c of these rows change by dc and k by dk, all at once, and solve. Returns an Outcome (0: solved)."""
        cdef Py_ssize_t p, j
        cdef int outcome
        cdef Row *row = self.rows.row
        if rows.shape[0] != dc.shape[0]:
            raise ValueError("shift_weights: shapes disagree")
        for p in range(rows.shape[0]):
            if not 0 <= rows[p] < self.rows.n or row[rows[p]].c + dc[p] < 0.0:
                raise ValueError("shift_weights: no such row, or a negative weight")
        with nogil:
            for p in range(rows.shape[0]):
                j = rows[p]
                row[j].c += dc[p]
                self.weight += dc[p]
                if self.side[j] == BELOW:
                    self._count_below(j, dc[p])
            self.k += dk
            outcome = self._solve()
        self._settled(outcome)
        return outcome

    def theta(self, double[::1] out):
        """The model, into out (d + 1,)."""
        memcpy(&out[0], &self.exact[0], (self.d + 1) * sizeof(double))

    cdef double _residual(self) noexcept nogil:
        """What the gap owes to stationarity, from the sums that are carried along."""
        cdef Py_ssize_t p
        self._find_force(&self.exact[0])
        for p in range(self.factor.m):
            self.rows.axpy(self.factor.on[p], -self.alpha[p], &self.force[0])
        return self._left_over()

    cdef double _left_over(self) noexcept nogil:
        """|k R theta - sum alpha_i a_i|^2 / 2k, that vector being in `force` (+ |b| times what is left of
        sum y alpha where the intercept is free)."""
        cdef double s = mtp_dot(&self.force[0], &self.force[0], self.d) / (2.0 * self.k)
        if self.free_intercept:
            return s + fabs(self.force[self.d] * self.exact[self.d])
        return s + self.force[self.d] * self.force[self.d] / (2.0 * self.k)

    cdef inline double _row_gap(self, Py_ssize_t i, double alpha, double slack) noexcept nogil:
        """What a row adds to the gap: c phi(m) - alpha (1 - m) >= 0."""
        return -(self.rows.row[i].c - alpha) * slack if slack < 0.0 else alpha * slack

    def gap(self):
        """The duality gap, from the rows on and near the margin; the others add exactly 0."""
        cdef Py_ssize_t p, i, b
        cdef double total, moved
        with nogil:
            total = self._residual()
            for p in range(self.d + 1):
                self.unit[p] = self.exact[p] - self.model[p]
            moved = self.due.travelled + self.metric.length(&self.unit[0], False)
            if moved >= self.due.horizon:
                self._gather(moved - self.due.travelled)
            for p in range(self.factor.m):
                i = self.factor.on[p]
                total += self._row_gap(i, self.alpha[p], self.rows.dot(i, &self.exact[0]) - 1.0)
            b = self.due.bin(moved)
            b = b if b < BINS else BINS - 1
            for p in range(self.due.first_bin, b + 1):
                i = self.due.bins[p]
                while i >= 0:
                    if not self.rows.row[i].deadline > moved:
                        total += self._row_gap(
                            i, self.rows.row[i].c if self.side[i] == BELOW else 0.0,
                            self.rows.dot(i, &self.exact[0]) - 1.0,
                        )
                    i = self.due.next[i]
        return total

    cdef double _full_gap(self, long *wrong) noexcept nogil:
        """The duality gap summed over all rows, from nothing that is carried along but `alpha`.

        ``wrong`` counts the rows that are not on the side where their margin says they are, by more
        than rounding.
        """
        cdef Py_ssize_t p, i
        cdef double total = 0.0, allowance, size
        cdef double *theta = &self.exact[0]
        size = sqrt(mtp_dot(theta, theta, self.d + 1))
        self.rows.margins(theta, &self.margin[0])
        for p in range(self.d + 1):
            self.force[p] = 0.0 if p == self.d and self.free_intercept else self.k * theta[p]
        for i in range(self.rows.n):
            if self.side[i] == ON or self._is_idle(i):
                continue
            allowance = 5 * NUDGE + 64 * EPS * self.rows.row[i].norm * size
            if self.side[i] == BELOW:
                self.rows.axpy(i, -self.rows.row[i].c, &self.force[0])
                total += self._row_gap(i, self.rows.row[i].c, self.margin[i] - 1.0)
                wrong[0] += self.margin[i] > 1.0 + allowance
            else:
                total += self._row_gap(i, 0.0, self.margin[i] - 1.0)
                wrong[0] += self.margin[i] < 1.0 - allowance
        for p in range(self.factor.m):
            i = self.factor.on[p]
            self.rows.axpy(i, -self.alpha[p], &self.force[0])
            total += self._row_gap(i, self.alpha[p], self.margin[i] - 1.0)
        return total + self._left_over()

    def check(self):
        """``(gap, wrong)`` by a full pass that changes nothing: see `_full_gap`."""
        cdef long wrong = 0
        cdef double gap
        with nogil:
            gap = self._full_gap(&wrong)
        return gap, wrong

    def audit(self):
        """Everything from scratch: sums, factor, margins, sides; then solve. Returns (gap, wrong).

        ``wrong`` counts the rows that were not on the side where their margin says they are, by
        more than rounding. The gap is summed over all rows.
        """
        cdef Py_ssize_t i
        cdef long wrong = 0, left = 0
        cdef double gap, size, allowance
        cdef int outcome
        with nogil:
            self._refactor()
            self._pass()
            size = sqrt(mtp_dot(&self.model[0], &self.model[0], self.d + 1))
            for i in range(self.rows.n):
                if self.side[i] == ON or self._is_idle(i):
                    continue
                allowance = 3 * NUDGE + 64 * EPS * self.rows.row[i].norm * size
                if (self.side[i] == ABOVE and self.margin[i] < 1.0 - allowance) or (
                    self.side[i] == BELOW and self.margin[i] > 1.0 + allowance
                ):
                    wrong += 1
                    self.side[i] = BELOW if self.margin[i] < 1.0 else ABOVE
            self._sum_below()
            outcome = self._solve()
            gap = self._full_gap(&left)
        self._settled(outcome)
        return gap, wrong + (outcome != DONE)

    def clean_loss(self):
        """Summed weighted hinge loss of the clean rows at theta, in O(d)."""
        return self.below_weight - mtp_dot(&self.below_clean[0], &self.exact[0], self.d + 1)

    def resolution(self):
        """What rounding alone can put into the gap: a few units in the last place of every margin,
        and what the same in k R theta, divided by k, does to the margins."""
        cdef Py_ssize_t i
        cdef double total = 0.0, pull = 0.0, noise = 0.0
        cdef double size = sqrt(mtp_dot(&self.exact[0], &self.exact[0], self.d + 1))
        with nogil:
            for i in range(self.rows.n):
                total += self.rows.row[i].c * (1.0 + self.rows.row[i].norm * size)
                pull += self.rows.row[i].c * self.rows.row[i].norm
                noise += (self.rows.row[i].c * self.rows.row[i].norm) ** 2
        return EPS * (8.0 * total + pull * sqrt(noise) / self.k)

"""How many inserted records make a pipeline misbehave, which, who would see them, and what is guaranteed."""

from __future__ import annotations

import numpy as np

from mtpfast import DamagePoisoner, MinimumPoisoner
from mtpfast.arrays.checks import check_count
from mtpfast.arrays.sweeps import sweep

from .checkpoint import Checkpoint, key_of
from .checks import chosen, evaluate, tree_of
from .guaranteed import guarantee_of, looked_at
from .measured import appended, flips_of, measured, refitted
from .parts import OutOfTime, Parts, Progress
from .question import METRICS, read_question, take
from .report import AuditReport
from .tables import one_line
from .tree import Found, Tree, as_given

__all__ = ["audit"]


SHARES = {
    "clean model": 0.05,
    "damage curve": 0.35,
    "fewest records": 0.2,
    "label flips": 0.1,
    "exact minimum": 0.05,
    "defences": 0.1,
    "guarantee": 0.15,  # last: it may take longer than it was given, by a row and the attack on it
}
AGAIN = 5  # times that the goal is raised where the refitted pipeline falls short of it
CLOSE = 0.005  # goals nearer to each other are not told apart
LOWER, FEWER = 8, 0.8  # budgets below the fewest that are tried on a small table, each this share of the one before
SMALL = 500_000  # numbers in a table: of fewer, another search costs seconds


def audit(
    pipeline,
    X,
    y,
    X_test=None,
    y_test=None,
    *,
    goal=None,
    where=None,
    rules=None,
    budgets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.1),
    sanitizers="default",
    metric="error",
    time_limit=None,
    random_state=0,
    verbose=1,
    n_starts=6,
    max_iter=120,
    callback=None,
    checkpoint=None,
    n_jobs=None,
    prove=1000,
) -> AuditReport:
    r"""What inserted records can do to a pipeline: found, measured in the pipeline itself, and guaranteed.

    .. math:: \max_{(x_j, y_j) \in F, \; j \le B} \; M\big( \mathrm{fit}(D \cup \{(x_j, y_j)\}) \big)

    with D the table, F the records that it could hold, and M the share of wrong predictions among the rows aimed at.

    Parameters
    ----------
    pipeline : Pipeline or linear classifier
        As it is trained in practice; see :meth:`DamagePoisoner.from_estimator` for what is known. Only clones of it are
        fitted.
    X : DataFrame or array of shape (n_rows, n_columns)
        The clean table, raw.
    y : array-like of shape (n_rows,)
        Two labels.
    X_test, y_test : optional
        A holdout on which everything is measured. The search never sees it: it aims at the training rows. Without it
        the training rows are measured, and the report says so.
    goal : dict, optional
        A metric and its value, such as ``{"error": 0.5}``: the fewest records found that bring it there, and how many
        cannot (proved).
    where : str, mask or callable, optional
        The rows aimed at: a pandas query on the columns, with the labels as ``y``; a boolean mask of X (a pair of
        masks with X_test); or a function of ``(X, y)`` that returns one.
    rules : mapping, optional
        Rules on raw columns that inserted records keep; see :class:`mtpfast.spaces.rules.Rules`.
    budgets : sequence of int or float
        Numbers of records, or below 1 shares of the rows; those of less than one record are left out.
    sanitizers : "default", "all", None, or sequence
        Which checks are tried on the attack: the quick ones, all of :func:`mtpfast.defences.default_defences`, none,
        or whatever :func:`mtpfast.defences.as_defence` takes.
    metric : {"error", "false_negative_rate", "false_positive_rate"}
        False negatives are counted among the rows of the larger label.
    time_limit : float, optional
        Seconds for everything. Every part has a share of what is left when it begins: with all parts, 5 % the clean
        model, 35 % the damage curve, 20 % the fewest records, 10 % label flips, 5 % the exact minimum, 10 % the checks,
        15 % the guarantees. A part whose time is over keeps what it has; the report names what was left undone, in
        the first sentence, too, where the number of records depends on it. What is found then depends on the machine.
    random_state : int, default=0
    n_starts, max_iter : int
        Of every search for damage, as in :class:`DamagePoisoner`.
    verbose : int, default=1
        A bar of progress on the standard error, if that is a terminal.
    callback : callable, optional
        Told a dict (``part``, ``share``, ``text``) again and again; returning True ends the audit as Ctrl-C does: the
        report then holds what is done.
    checkpoint : path, optional
        A folder to which every search, bound and check is written as it ends, and from which it is read where the same
        audit is asked for again: killed and started again, it ends with the same report (but for its times). No
        pickled object is written or read. Another table, pipeline or question is refused.
    n_jobs : int, optional
        Workers for the label flips and for the guarantees of the rows (those are threads, where
        ``joblib.parallel_config`` chooses no backend); the report is the same for any of them. Searches for damage go
        on from each other, and run here.
    prove : bool or int, default=1000
        Of how many rows aimed at to ask for a guarantee, those with the largest margins first. 64 of them tell whether
        the others can add anything: where none takes two records, or more than the smallest budget, they are left out.
        True: all rows; False: none. Rows left out count as wrong in what is proved, and the report says how many.

    Returns
    -------
    AuditReport

    Raises
    ------
    ValueError, TypeError
        For input that cannot be audited, in one line: two labels are expected, values in every column, rows that
        ``where`` selects, a goal that is not met already, a pipeline that fits.

    Notes
    -----
    Every number of the curve is measured in a clone of the pipeline, fitted to the table with the records in it,
    imputer, scaler and encoder included. What is found is found; what is proved is proved for the victim whose
    imputer, scaler and encoder stay as the clean table made them, and the report says that too.

    Complexity: about 200 trainings for every budget, three refits of the pipeline per budget for the label flips, and
    a dozen passes over the table per row that is guaranteed.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mtpfast import audit
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame({"age": rng.integers(18, 80, 200), "debt": rng.normal(size=200).round(2)})
    >>> late = np.where(table["debt"] + 0.02 * table["age"] + rng.normal(size=200) > 1, "yes", "no")
    >>> pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    >>> quick = {"n_starts": 1, "max_iter": 40, "sanitizers": None}
    >>> report = audit(pipeline, table, late, where="age < 30", budgets=[0.05], **quick)
    >>> row = report.to_frame().iloc[0]
    >>> bool(row["attack"] > row["clean"]), len(report.records(0.05)) <= 10
    (True, True)
    """
    question = read_question(
        pipeline, X, y, X_test, y_test, goal=goal, where=where, rules=rules, budgets=budgets, metric=metric
    )
    prove = prove if isinstance(prove, bool) else check_count(prove, "prove", low=0)
    limits = {"n_starts": n_starts, "max_iter": max_iter, "random_state": random_state}
    kept = Checkpoint(checkpoint, None if checkpoint is None else key_of(question, sanitizers, limits, prove))
    asked = {"fewest records": goal is not None, "defences": sanitizers is not None}
    shares = {name: share for name, share in SHARES.items() if asked.get(name, True)}
    parts = Parts(shares, time_limit, Progress(verbose), callback)
    try:
        return _Audit(question, parts, sanitizers, limits, kept, prove, n_jobs).run()
    finally:
        parts.progress.close()


class _Audit:
    """The parts, and what one hands to the next."""

    def __init__(self, question, parts, sanitizers, limits, kept, prove, n_jobs):
        self.q, self.parts, self.sanitizers, self.limits, self.kept = question, parts, sanitizers, limits, kept
        self.random_state, self.prove, self.n_jobs = limits["random_state"], prove, n_jobs
        self.found: list[Found] = []
        self.fewest = self.guarantee = self.minimum = self.defences = None
        self.flips: dict = {}
        self.told: dict = {}

    def run(self) -> AuditReport:
        self._clean()
        parts = self.parts
        parts.run("damage curve", self._curve)
        if self.q.goal is not None:
            parts.run("fewest records", self._fewest)
        parts.run("label flips", self._flips)
        self.minimum = parts.run("exact minimum", self._minimum)
        if self.sanitizers is not None:
            self.defences = parts.run("defences", self._defences)
        self.guarantee = parts.run("guarantee", self._guarantee)
        return AuditReport.of(Tree(self).grown(), self)

    # -- parts ----------------------------------------------------------------------------------------

    def _clean(self):
        """The clean pipeline and the attacker; what fails here is the user's input."""
        q = self.q

        def work(part):
            try:
                self.clean_model = q.fit(q.X, q.y)
                self.clean = measured(q, self.clean_model)
            except KeyboardInterrupt:
                raise
            except Exception as error:  # whatever a user's own pipeline raises
                raise BadPipeline(
                    f"the pipeline does not fit the table: {type(error).__name__}: {one_line(error)}"
                ) from None
            if q.goal is not None and self.clean.measured.value >= q.goal:
                raise ValueError(
                    f"goal is met already: {METRICS[q.metric]} {self.clean.measured.value:.4g} of the clean pipeline, "
                    f"goal {q.goal:g}"
                )
            victim = self.clean_model  # fitted: what a search over parameters found is in it
            self.attacker = DamagePoisoner.from_estimator(victim, metric=q.metric, rules=q.rules, **self.limits)
            self.attacker.fit(q.X, q.train.y)
            return True

        self.parts.begin_with("clean model", work)

    def _kept(self, name, part, work):
        """A result by its name: read where it was kept, else found, and kept if the part has not been ended."""
        own = {
            "preprocessing": self.attacker.preprocessing_,
            "feasible_set": self.attacker._own_feasible_set(),
        }
        own = {field: value for field, value in own.items() if value is not None}
        return self.kept.result(name, work, lambda: part.status == "done", **own)

    def _search(self, part, name, run, asked):
        """A search for damage within the part's time; Ctrl-C and time are told apart."""
        return self._kept(name, part, lambda: self._searched(part, run, asked))

    def _searched(self, part, run, asked):
        parts, ended = self.parts, {}

        def watch(state):
            try:
                parts.check(f"{METRICS[self.q.metric]} {100 * state['best']:.1f} % with {state['budget']:,} records")
            except (OutOfTime, KeyboardInterrupt) as stop:
                ended["by"] = stop
                return True
            return False

        result = run(**asked, mask=self.q.train.aimed, callback=watch)
        result = result[0] if isinstance(result, list) else result
        if "by" in ended or result.status == "interrupted":
            timed = isinstance(ended.get("by"), OutOfTime)
            part.status = "not finished" if timed else "interrupted"
        return result

    def _measured(self, result):
        return refitted(self.q, *result.poisoned(self.q.X, self.q.y)[:2])

    def _curve(self, part):
        before = None
        for given, count in self.q.budgets:
            result = self._search(
                part, f"curve_{count}", self.attacker.curve, {"budgets": [count], "resume": before}
            )
            after = self._measured(result)
            if self.found and after.train.value < self.found[-1].after.train.value:
                kept = self.found[-1]  # fewer records do more in the pipeline itself, as the attacker sees it
                result, after = kept.result, kept.after
            self.found.append(Found(given, count, result, after))
            before = result
            if part.status != "done":
                left = [as_given(given) for given, _ in self.q.budgets[len(self.found) :]]
                none = f"; not searched: {', '.join(left)}" if left else ""
                part.message = f"the search at {as_given(given)} was ended before its end{none}"
                break
        return True

    def _fewest(self, part):
        """The search's goal is raised until the pipeline itself, refitted, meets the goal on the measured rows."""
        q, aim = self.q, self.q.goal
        met = [found for found in self.found if found.after.measured.value >= q.goal]
        best = min(met, key=lambda found: found.result.n_points) if met else None
        if best is not None:
            self.fewest = Found(None, best.result.n_points, best.result, best.after)
        by, short, enough = CLOSE / 2, None, None  # short, enough: goals of the search that are too low, and that do
        near = [found for found in self.found if found.result.n_points]
        last = best or (near[-1] if near else None)
        if last is not None and last is not best and last.after.train.value >= aim:  # the training rows are there
            short, by = last.after.train.value, max(2 * by, aim - last.after.measured.value)
            aim = min(1.0, short + by)
        resume = None if last is None else last.result
        for turn in range(AGAIN):
            asked = {"goal": aim, "resume": resume, "prove": False}  # what is proved is a part of its own
            result, message = self._cheapest(part, f"fewest_{turn}", asked)
            if result is None:  # more than can be found on the training rows
                part.message = message
                if self.parts.left() == 0.0:
                    part.status = "not finished"
                    break
                enough = aim
            else:
                after = self._fewer(result)
                if after.measured.value >= q.goal:
                    enough = aim
                else:
                    short, resume, by = aim, result, max(2 * by, q.goal - after.measured.value)
            if part.status != "done" or short is None or short == 1.0:
                break
            if enough is not None and enough - short < CLOSE:
                break
            aim = min(1.0, short + by) if enough is None else (short + enough) / 2
        if resume is not None and best is None and enough is not None and part.status == "done" and self._is_small():
            # a way that does not lead from the curve may take fewer
            result, _ = self._cheapest(part, "fewest_anew", {"goal": enough, "resume": None, "prove": False})
            if result is not None:
                self._fewer(result)
        if self.fewest is not None and self._is_small():  # few rows are measured: fewer records may do, by chance
            count = self.fewest.result.n_points
            for _ in range(LOWER):
                count = int(FEWER * count)
                if part.status != "done" or not count:
                    break
                for resume in (self.fewest.result, None):
                    asked = {"budgets": [count], "resume": resume}
                    name = f"fewest_of_{count}{'' if resume else '_anew'}"
                    self._fewer(self._search(part, name, self.attacker.curve, asked))
                    if part.status != "done" or self.fewest.result.n_points <= count:
                        break
        if part.status != "done":
            left = "whether any number of records reaches the goal"
            if self.fewest is not None:
                left = f"whether fewer than the {self.fewest.result.n_points:,} records found reach the goal"
            part.message = f"{left} was left open"
        elif self.fewest is not None:
            part.message = ""  # of a goal that was too high
        if self.fewest is not None:  # at a budget that holds them, too, they are what was found
            for i, found in enumerate(self.found):
                if self.fewest.result.n_points <= found.budget and found.after.measured.value < q.goal:
                    self.found[i] = Found(found.given, found.budget, self.fewest.result, self.fewest.after)
        return True

    def _fewer(self, result):
        """What the pipeline does with these records; they are kept where they meet the goal and are the fewest."""
        after = self._measured(result)
        meets = after.measured.value >= self.q.goal
        if meets and (self.fewest is None or result.n_points < self.fewest.result.n_points):
            self.fewest = Found(None, result.n_points, result, after)
        return after

    def _is_small(self):
        """Whether another search costs little beside the curve."""
        return len(self.q.y) * self.attacker.coef_.size <= SMALL

    def _cheapest(self, part, name, asked):
        """``(result, "")``, or None and why there is none."""
        message = self.kept.tree(f"{name}_none", lambda: None, bool)
        if message is None:
            try:
                return self._search(part, name, self.attacker.cheapest, asked), ""
            except ValueError as error:
                message = one_line(error)
            self.kept.tree(f"{name}_none", lambda: message, lambda: self.parts.left() != 0.0)
        return None, message

    def _flips(self, part):
        q, parts = self.q, self.parts
        scores = None
        if hasattr(self.clean_model, "decision_function"):
            scores = np.asarray(self.clean_model.decision_function(q.X))
        counts = sorted({found.result.n_points for found in self.found} - {0})
        if self.fewest is not None:
            counts = sorted({*counts, self.fewest.result.n_points})
        ways = [(k, way, rows) for k in counts for way, rows in flips_of(q, k, scores, self.random_state).items()]
        best = {}
        found = zip(ways, sweep(_flipped, [(rows,) for _, _, rows in ways], q, self.n_jobs), strict=True)
        for i, ((k, way, _), after) in enumerate(found):
            if k not in best or after.train.value > best[k][1].train.value:
                best[k] = way, after
            if way == ways[-1][1]:  # of all ways that there are for so many
                self.flips[k] = best[k]
            part.message = f"of {len(self.flips)} of {len(counts)} numbers of records"
            parts.check(f"{k:,} of them", (i + 1) / len(ways))
        part.message = ""
        return True

    def _guarantee(self, part):
        """Lower bounds for the rows aimed at."""
        q, parts, ended = self.q, self.parts, {}
        if not self.prove:
            part.status, self.told["not proved"] = "not asked", "it was not asked for"
            return None

        def watch(n_done, n_steps, seconds):
            try:
                parts.check(f"{n_done:,} of {n_steps:,} rows and budgets", n_done / n_steps)
            except (OutOfTime, KeyboardInterrupt) as stop:
                if isinstance(stop, OutOfTime) and n_done == n_steps:  # nothing is left to end
                    return
                ended["by"] = stop
                raise KeyboardInterrupt from None

        def certified():
            guarantee = guarantee_of(q, self.attacker, self.prove, watch, self.n_jobs)
            if "by" in ended or np.any(guarantee.status == "interrupted"):
                part.status = "not finished" if isinstance(ended.get("by"), OutOfTime) else "interrupted"
            return guarantee

        try:
            guarantee = self._kept("guarantee", part, certified)
        except ValueError as error:
            self.told["not proved"] = part.message = one_line(error).removeprefix("no guarantee can be proved: ")
            part.status = "not proved"
            return None
        done, n = looked_at(guarantee), int(q.counted.sum())
        if done < n:
            part.message = f"{done:,} of {n:,} rows; nothing is claimed of the others"
        elif part.status != "done":
            part.message = "every row was looked at; what bounds all of them together is not there for every budget"
        return guarantee

    def _minimum(self, part):
        """The fewest records that make exactly the model of the headline, where a program can say so."""
        shown = self.headline
        if shown is None:
            part.status, part.message = "not started", "no records were found"
            return None
        try:
            attacker = MinimumPoisoner.from_estimator(self.clean_model, rules=self.q.rules)
            attacker.fit(self.q.X, self.q.train.y)
            target = shown.result.coef_, shown.result.intercept_
            return self._kept("minimum", part, lambda: attacker.attack(target))
        except ValueError as error:
            self.told["no minimum"] = part.message = one_line(error)
            part.status = "not proved"
            return None

    def _defences(self, part):
        """Every check on the records of the headline: fitted to the poisoned table, the pipeline to what it leaves."""
        q, shown, parts, ended = self.q, self.headline, self.parts, {}
        if shown is None:
            part.status, part.message = "not started", "no records were found"
            return None
        tried = chosen(self.sanitizers, self.attacker)
        n_all = 2 * (len(tried) + 3)

        def watch(row):
            ended.setdefault("seen", []).append(row["defence"])
            try:
                parts.check(row["defence"], min(1.0, len(ended["seen"]) / n_all))
            except (OutOfTime, KeyboardInterrupt) as stop:
                ended["by"] = stop
                return True
            return False

        rows = q.measured

        def work():
            found = evaluate(
                shown.result, q.X, q.y, rows.X, rows.y, estimator=q.pipeline, defences=tried, shares=["poison"],
                metric=q.metric, aimed=rows.aimed, errors="note", callback=watch,
            )  # fmt: skip
            if not found.finished:
                part.status = "not finished" if isinstance(ended.get("by"), OutOfTime) else "interrupted"
                part.message = f"{len(set(ended['seen']))} of {len(tried) + 3} checks were tried"
            return tree_of(found, shown.result.n_points)

        return self.kept.tree("defences", work, lambda: part.status == "done")

    @property
    def headline(self):
        """What the first sentence speaks of: the fewest records for the goal, or the largest budget."""
        if self.fewest is not None:
            return self.fewest
        done = [found for found in self.found if found.result.n_points]
        return done[-1] if done else None


def _flipped(rows, q):
    """The pipeline refitted with copies of these rows that carry the other label."""
    other = np.where(q.train.y == q.classes[0], q.classes[1], q.classes[0])
    return refitted(q, *appended(q, take(q.X, rows), other[rows]))


class BadPipeline(ValueError):
    """A user's pipeline does not fit its own table."""

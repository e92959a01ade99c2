"""What a guarantee is: per prediction, a number of insertions that provably cannot flip it, and an attack that does."""

from __future__ import annotations

import dataclasses
import html
import json
import os
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mtpfast.arrays.checks import check_sample_weight, check_X
from mtpfast.arrays.frames import missing_in
from mtpfast.arrays.frozen import freeze_arrays
from mtpfast.arrays.in_parts import as_parts
from mtpfast.arrays.labels import Classes
from mtpfast.arrays.rounding import gamma
from mtpfast.preprocessing.digest import Matrix
from mtpfast.proofs.bounds import NEVER
from mtpfast.proofs.joint import Joint
from mtpfast.proofs.pointwise import TRAINED, Pointwise

from .files import FORMAT, decode_field, encode, read_file

__all__ = ["Guarantee", "GuaranteeCheck", "LossBound", "NEVER", "budgets_of", "count_of"]


STATUSES = ("done", "wrong", "interrupted")
SHARES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)


class GuaranteeCheck(NamedTuple):
    """What :meth:`Guarantee.check` found.

    ``ok``: all bounds and statuses are proved, and the attacks agree with them. ``lower_bound``: what is proved per row
    (0: nothing). ``failed``: the numbers of the rows whose claim is not. ``gap``: the clean objective at
    ``proof.theta`` is above its minimum by this share at most; beyond 1e-7 it is not proved to be the clean victim.
    (So it is where the minimum is of the size of rounding errors: separable classes, features of 1e5 and more.)
    """

    ok: bool
    lower_bound: np.ndarray
    failed: np.ndarray
    gap: float


def count_of(k, n_clean: int) -> int:
    """A budget, a number of points or a share of the clean rows, as a number of points."""
    if isinstance(k, (bool, np.bool_)) or not isinstance(k, (int, float, np.integer, np.floating)):
        raise TypeError(f"k must be a number of points or a share of the clean rows, got {k!r}")
    if not k >= 0 or k == np.inf:
        raise ValueError(f"k must be at least 0 and finite, got {k!r}")
    count = int(k) if isinstance(k, (int, np.integer)) else np.floor(float(k) * n_clean * (1.0 + 1e-12))
    if count >= NEVER:
        raise ValueError(f"k must be less than 2**63 - 1 points, got {k!r}")
    return int(count)


def budgets_of(budgets, n_clean: int) -> tuple:
    """Budgets as Python's own numbers, each a number of points or a share of the clean rows."""
    if isinstance(budgets, (str, bytes)) or not np.iterable(budgets):
        raise TypeError(f"budgets must be a list of numbers of points or shares of the clean rows, got {budgets!r}")
    budgets = tuple(k.item() if isinstance(k, np.generic) else k for k in budgets)
    for i, k in enumerate(budgets):
        try:
            count_of(k, n_clean)
        except (TypeError, ValueError) as error:
            raise type(error)(f"budgets must hold numbers of points or shares; of number {i}: {error}") from None
    return budgets


class LossBound(NamedTuple):
    """What no attack exceeds on the clean rows: their mean ``loss``, and the share of them that is wrong."""

    loss: float
    error: float


@dataclass(frozen=True, eq=False)
class Guarantee:
    """How few insertions could flip each prediction of a linear model, from both sides.

    Attributes
    ----------
    lower_bound : ndarray of int64, shape (n_rows,)
        **Proved**: fewer inserted points than so many do not flip the row. 0 where the clean model is wrong already, or
        where nothing is proved.
    upper_bound : ndarray of int64, shape (n_rows,)
        **Found**: so many points flip it (0 where it is wrong already; ``2**63 - 1`` where no attack was found).
    status : ndarray of str, shape (n_rows,)
        "done", "wrong" (the clean model is, measured by y_eval) or "interrupted" (not looked at, or proved and not
        attacked any more).
    labels : ndarray of shape (n_rows,)
        What is protected: y_eval, or the prediction.
    row : ndarray of int, shape (n_rows,)
        The number of each row in X_eval.
    attack_row, points, attack_label, attack_count
        The attacks: for every distinct point the row (a position in ``lower_bound``) that it is aimed at, the point,
        its label, and how often it is inserted.
    classes : ndarray of shape (2,)
    n_clean : int
    budgets : tuple
        What summaries report, counts or shares of ``n_clean``.
    proof : Pointwise
        The certificate of every row.
    joint : Joint or None
        Bounds of what one attack does to all rows at once, at the budgets.
    preprocessing : fitted transformer or None
        What the victim does to raw records. Not saved.
    records : table or None
        The raw records of ``points``.

    Notes
    -----
    A flip is any model whose score of the row is not on the side of its label, 0 included. What is bounded is
    insertion: clean rows are neither removed nor changed. With weak regularisation the bounds are 1 to 20 points: true,
    and of little use.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import minmax_scale
    >>> from mtpfast import FeatureSpace, ModelTargetedPoisoner
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = minmax_scale(X).clip(0, 1)
    >>> victim = ModelTargetedPoisoner(alpha=0.09, feasible_set=FeatureSpace(0, 1)).fit(X[::2], y[::2])
    >>> guarantee = victim.certify(X[1:21:2], y[1:21:2])
    >>> bool((guarantee.lower_bound <= guarantee.upper_bound).all()), guarantee.check(X[::2], y[::2]).ok
    (True, True)
    >>> guarantee.certified_error(0.01) >= guarantee.attacked_error(0.01)
    True
    """

    lower_bound: np.ndarray
    upper_bound: np.ndarray
    status: np.ndarray
    labels: np.ndarray
    row: np.ndarray
    attack_row: np.ndarray
    points: Any
    attack_label: np.ndarray
    attack_count: np.ndarray
    classes: np.ndarray
    n_clean: int
    budgets: tuple
    proof: Pointwise
    joint: Joint | None = None
    preprocessing: Any = None
    records: Any = None

    def __post_init__(self):
        freeze_arrays(self)

    @property
    def clean_error(self) -> float:
        """The share of rows on which the clean model is wrong."""
        return float(np.mean(self.status == "wrong"))

    def certified_error(self, k, groups=None):
        """No attack with k points has more of the rows wrong than this share: proved.

        The better of two bounds: the share of the rows whose ``lower_bound`` is at most k, each granted an attack of
        its own, and the joint bound of the least budget that is at least k, which is of all rows together. By group it
        is the first alone.

        Parameters
        ----------
        k : int or float
            A number of points, or (a float) a share of ``n_clean``.
        groups : array-like of shape (n_rows,), optional
            A group per row: then the shares by group, as a dict.
        """
        own = self._share(self.lower_bound, k, groups)
        b = None if groups is not None or self.joint is None else self.joint.at(self.count_of(k))
        return own if b is None else min(own, float(self.joint.wrong[b] / len(self.lower_bound)))

    def certified_loss(self, k, groups=None):
        """No attack with k points makes the loss larger: proved.

        Parameters
        ----------
        k : int or float
            A number of points, or (a float) a share of ``n_clean``.
        groups : array-like of shape (n_rows,), optional
            A group per row of X_eval.

        Returns
        -------
        LossBound or dict
            Without groups: the mean loss of the **clean rows** (by weight), and the share of them that is wrong. With
            groups: of every group the largest mean loss of its **rows of X_eval**, from the least score that each can
            have. It is that of the least budget that is at least k; infinite (and the share 1) beyond the largest,
            where no joint bounds were asked for, and where a free intercept has no end: log loss, and points that
            outweigh the clean rows of a label.
        """
        b = None if self.joint is None else self.joint.at(self.count_of(k))
        if self.joint is None:
            self.count_of(k)
        if groups is None:
            return LossBound(np.inf, 1.0) if b is None else LossBound(
                float(self.joint.loss[b]), float(self.joint.error[b]))  # fmt: skip
        groups = self._groups(groups)
        loss = self.proof.objective.loss
        highest = np.full(len(groups), np.inf) if b is None else loss.value(self.joint.score[b]) * (1.0 + 1e-12)
        return {name: float(np.mean(highest[groups == group])) for name, group in _named(groups)}

    def attacked_error(self, k, groups=None):
        """The share of rows that k points flip, each row attacked on its own: found. See :meth:`certified_error`.

        No one attack need have them all wrong: the joint bound of ``certified_error`` may be less.
        """
        return self._share(self.upper_bound, k, groups)

    def _share(self, bound, k, groups):
        wrong = bound <= self.count_of(k)
        if groups is None:
            return float(np.mean(wrong))
        groups = self._groups(groups)
        return {name: float(np.mean(wrong[groups == group])) for name, group in _named(groups)}

    def _groups(self, groups):
        groups = np.asarray(groups)
        if groups.shape != self.lower_bound.shape:
            raise ValueError(f"groups must have shape {self.lower_bound.shape}, one per row, got {groups.shape}")
        missing = missing_in(groups) | (np.isnat(groups) if groups.dtype.kind in "mM" else False)
        if np.any(missing):
            raise ValueError(f"groups must name a group for every row, got {groups[missing][0]!r} for row "
                             f"{int(np.argmax(missing))}")  # fmt: skip
        try:
            np.unique(groups)
        except TypeError as error:
            raise TypeError(f"groups must hold names of one kind, which can be sorted: {error}") from None
        return groups

    def count_of(self, k) -> int:
        """A budget as a number of points."""
        return count_of(k, self.n_clean)

    def attack_on(self, i: int):
        """``(points, labels, counts)`` of the attack that flips the row at position i of ``lower_bound``; None if none
        was found, IndexError for no such position."""
        if not -len(self.row) <= i < len(self.row):
            raise IndexError(f"i must be the number of one of the {len(self.row)} rows, got {i!r}")
        i %= len(self.row)
        own = np.flatnonzero(self.attack_row == i)
        return (self.points[own], self.attack_label[own], self.attack_count[own]) if len(own) else None

    # -- tables and pictures -----------------------------------------------------------------------

    def to_frame(self):
        """A DataFrame with a row per prediction: label, status, lower_bound, upper_bound (missing where not known)."""
        import pandas as pd

        upper = pd.array(np.where(self.upper_bound == NEVER, 0, self.upper_bound), dtype="Int64")
        upper[self.upper_bound == NEVER] = pd.NA
        columns = {"label": self.labels, "status": self.status.astype(str), "lower_bound": self.lower_bound}
        return pd.DataFrame({**columns, "upper_bound": upper}, index=pd.Index(self.row, name="row"))

    def summary(self) -> list[tuple]:
        """``(budget, points, certified error, attacked error)`` for every budget."""
        return [(k, self.count_of(k), self.certified_error(k), self.attacked_error(k)) for k in self.budgets]

    def plot(self, axes=None):
        """The two errors against the number of points, the clean error as a line. Returns the figure."""
        from .plot import plot_guarantee

        return plot_guarantee(self, axes)

    def __repr__(self) -> str:
        done = self.status == "done"
        known = f"median {np.median(self.lower_bound[done]):g} points proved" if np.any(done) else "none done"
        return f"Guarantee({len(self.status)} rows, clean error {self.clean_error:.3f}, {known})"

    def _repr_html_(self) -> str:
        head = "<tr><th>insertions</th><th>certified error</th><th>attacked error</th></tr>"
        lines = [
            f"<tr><td>{n:,}{f' ({k:.1%})' if isinstance(k, float) else ''}</td><td>{certified:.1%}</td>"
            f"<td>{attacked:.1%}</td></tr>"
            for k, n, certified, attacked in self.summary()
        ]
        about = f"{self.proof.objective!r}; insertions from {self.proof.feasible_set!r}"
        return f"<p>{html.escape(repr(self))}</p><p>{html.escape(about)}</p><table>{head}{''.join(lines)}</table>"

    # -- proof --------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Raise ValueError, naming the field, where this cannot be a guarantee."""
        if not isinstance(self.proof, Pointwise) or not isinstance(self.joint, (Joint, type(None))):
            raise ValueError("field 'proof' or 'joint' is not a guarantee's")
        self.proof.validate()
        n, d = self.proof.rows.shape
        if np.shape(self.classes) != (2,) or self.classes[0] == self.classes[1]:
            raise ValueError(f"field 'classes' must hold two labels, got {self.classes!r:.80}")
        own, attacks = dict.fromkeys(("lower_bound", "upper_bound", "row"), n), np.size(self.attack_row)
        whole = {**own, "attack_row": attacks, "attack_count": attacks}
        least = {"attack_count": 1}
        for name, size in {**whole, "status": n, "labels": n, "attack_label": attacks}.items():
            values = getattr(self, name)
            if not isinstance(values, np.ndarray) or values.shape != (size,):
                raise ValueError(f"field {name!r} must have shape ({size},), got {np.shape(values)}")
            if name in whole and values.dtype.kind not in "iu":
                raise ValueError(f"field {name!r} must hold whole numbers, got dtype {values.dtype}")
            if name in whole and np.any(values < least.get(name, 0)):
                raise ValueError(f"field {name!r} must be at least {least.get(name, 0)}, got {np.min(values)}")
            if name in whole and np.any(values > (NEVER if name in own else NEVER // max(1, attacks))):
                raise ValueError(f"field {name!r} holds numbers of points that are too large, got {np.max(values)}")
        if np.any(self.attack_row >= n):
            raise ValueError(f"field 'attack_row' must be less than {n}, got {np.max(self.attack_row)}")
        if not np.all(np.isin(self.status, STATUSES)):
            raise ValueError(f"field 'status' must hold {', '.join(STATUSES)} only")
        for name in ("labels", "attack_label"):
            Classes(self.classes).signs(getattr(self, name), f"field {name!r}")
        if np.shape(self.points) != (attacks, d):
            raise ValueError(f"field 'points' must have shape {(attacks, d)}, got {np.shape(self.points)}")
        if self.records is not None and len(self.records) != attacks:
            raise ValueError(f"field 'records' must hold {attacks} records, got {len(self.records)}")
        if not isinstance(self.n_clean, (int, np.integer)) or not 1 <= self.n_clean < NEVER:
            raise ValueError(f"field 'n_clean' must be a whole number from 1 on, got {self.n_clean!r}")
        if not isinstance(self.budgets, tuple):
            raise ValueError("field 'budgets' is not a guarantee's")
        budgets_of(self.budgets, self.n_clean)
        if self.joint is not None:
            self.joint.validate(self.proof)

    def _at_odds(self):
        """Rows whose status is not what ``proof.theta`` says, or whose bounds are not what status and attacks say, or
        whose attack has a point that is not in the feasible set."""
        proof, wrong = self.proof, self.status == "wrong"
        w, b = proof.theta[:-1], proof.objective.one * proof.theta[-1]
        score = proof.signs * (proof.rows @ w + b)
        error = gamma(2 * len(w) + 10) * (abs(proof.rows) @ np.abs(w) + abs(b))
        other = np.where(wrong, ~(score <= error), ~(score > -error))
        known = np.bincount(self.attack_row, minlength=len(wrong)) > 0
        flips = np.zeros(len(wrong), dtype=np.int64)
        np.add.at(flips, self.attack_row, self.attack_count.astype(np.int64))
        found = np.where(wrong, 0, np.where(known, flips, NEVER))
        signs = Classes(self.classes).signs(self.attack_label, "attack_label")
        outside = self.attack_row[~proof.feasible_set.contains(self.points, signs)]
        other[outside] = True
        return other | (wrong & (self.lower_bound != 0)) | (self.upper_bound != found)

    def check(self, X, y=None, sample_weight=None) -> GuaranteeCheck:
        """Prove every lower bound again: plain NumPy, no solver, the clean data read once for all rows (and once more
        for joint bounds).

        The question is in ``proof``, to be read there: rows, labels, objective, feasible set. Proved are the lower
        bounds and the joint bounds, and so ``certified_error`` and ``certified_loss``; that ``proof.theta`` minimises
        the clean objective to a share of 1e-7 (``gap``: see ``proofs/lines.py``), and so ``status`` and
        ``clean_error``, which are what such a model says of the rows. Found are the attacks: their points must be
        of the feasible set, and as many as ``upper_bound``; that they flip their rows takes training.

        Parameters
        ----------
        X : array-like, sparse matrix or table of shape (n_clean, n_features); or rows in parts
        y : array-like of shape (n_clean,); None for rows in parts
        sample_weight : array-like of shape (n_clean,), optional
            The clean data as they were given to ``fit``.

        Returns
        -------
        GuaranteeCheck
            ``ok`` is False if a claim is not what the certificates and these data prove, and the rows are named whose
            claim it is; and where the number of clean rows is another. Other data that prove the same pass.

        Raises
        ------
        ValueError
            If the certificates are none: of other shapes or dtypes, with negative multipliers, or not finite.
        """
        self.validate()
        parts = as_parts(X, y, sample_weight)
        if parts is not None:
            X, signs, weight = parts.with_classes(self.classes), None, None
            X = X if self.preprocessing is None else X.transformed(Matrix(self.preprocessing))
        else:
            X = check_X(
                X if self.preprocessing is None else self.preprocessing.transform(X),
                n_features=self.proof.rows.shape[1],
            )
            signs = Classes(self.classes).signs(y, "y", X.shape[0])
            weight = check_sample_weight(sample_weight, X.shape[0])
        own = Classes(self.classes).signs(self.labels, "labels") == self.proof.signs
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what overflows proves nothing
            checked = self.proof.check(X, signs, weight)
            proved = np.where(own, checked.lower_bound, 0)
            holds = own & (self.lower_bound <= proved) & (self.lower_bound <= self.upper_bound)
            failed = np.flatnonzero(~holds | self._at_odds())
            ok = not len(failed) and checked.gap <= TRAINED and X.shape[0] == self.n_clean
            ok = ok and (self.joint is None or self.joint.check(self.proof, proved, X, signs, weight))
        return GuaranteeCheck(bool(ok), proved, failed, checked.gap)

    # -- files --------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike | BinaryIO) -> None:
        """Write to an ``.npz`` file without pickled objects; the preprocessing is not stored."""
        arrays: dict[str, np.ndarray] = {}
        names = [field.name for field in dataclasses.fields(self) if field.name != "preprocessing"]
        text = json.dumps({"format": FORMAT, "result": {name: encode(getattr(self, name), arrays) for name in names}})
        if hasattr(path, "write"):
            np.savez_compressed(path, json=np.array(text), **arrays)
        else:
            with open(path, "wb") as file:
                np.savez_compressed(file, json=np.array(text), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike | BinaryIO, *, preprocessing=None) -> Guarantee:
        """Read what :meth:`save` wrote. Whether what it claims is true is for :meth:`check`.

        Raises
        ------
        ValueError
            For a file that is not whole, or no guarantee's.
        """
        try:
            _, tree, arrays = read_file(path)
            names = {field.name for field in dataclasses.fields(cls) if field.name != "preprocessing"}
            if odd := sorted(names ^ tree.keys()):
                raise ValueError(f"field {odd[0]!r} is {'missing' if odd[0] in names else 'not one of a guarantee'}")
            values = {name: decode_field(name, value, arrays, None) for name, value in tree.items()}
            guarantee = cls(**values, preprocessing=preprocessing)
            guarantee.validate()
            return guarantee
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a file of a Guarantee that can be read: {error}") from None


def _named(groups):
    """``(name, group)`` of every group, the name a plain Python object."""
    return [(group.item() if hasattr(group, "item") else group, group) for group in np.unique(groups)]

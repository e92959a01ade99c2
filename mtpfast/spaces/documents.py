r"""Documents: whole counts of words, so many in all, and what a vectorizer makes of them.

A document is a vector c of whole counts,

.. math:: 0 \le c \le \mathtt{max\_count}, \qquad
          \mathtt{min\_length} \le \textstyle\sum_j c_j \le \mathtt{max\_length},

and its features are ``c * idf``, divided by their sum (``norm="l1"``), by their length
(``norm="l2"``), or as they are. The convex set that bounds from above what documents can reach:

* no norm: ``{c >= 0, c <= max_count, min_length <= sum c <= max_length}``, scaled by ``idf``. It is
  the hull of the documents (the constraints are totally unimodular), so every vertex is a document
  and a linear function is maximised greedily, the best words first;
* ``"l1"``: the simplex of the words, whose vertices are the documents of one word;
* ``"l2"``: the part ``x >= 0`` of the ball. Documents come near to every direction of it, the
  nearer the longer they may be and the more often they may use a word.

With ``"l2"`` a linear function of the row, ``(g . c) / |idf c|`` with ``g = q idf``, is maximised over the
documents themselves, not over the ball: where some ``g_j`` is positive the maximum t fulfils

.. math:: t^2 = \max_{\mu > 0} 4 \mu F(\mu), \qquad F(\mu) = \max_c \sum_j (g_j c_j - \mu\, \mathrm{idf}_j^2 c_j^2)

because ``G <= t sqrt(W)`` says ``G - mu W <= t^2 / (4 mu)`` for every mu. F is convex in mu, and a greedy
choice solves it: the k-th use of word j adds ``g_j - mu idf_j^2 (2k - 1)``, less than the one before.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_count, check_X
from mtpfast.arrays.frames import column_names, is_frame
from mtpfast.arrays.frozen import read_only

from .document_region import DocumentRegion
from .labelled import LabelledSpace
from .specs import SHOWN

__all__ = ["DocumentSpace"]


NORMS = (None, "l1", "l2")


class DocumentSpace(LabelledSpace):
    r"""The rows of documents: counts of words, within a length and a maximum per word.

    .. math:: x = \frac{c \cdot \mathrm{idf}}{\lVert c \cdot \mathrm{idf} \rVert}, \qquad
              c \in \mathbb{Z}^d, \quad 0 \le c \le \mathtt{max\_count}, \quad
              \mathtt{min\_length} \le \sum_j c_j \le \mathtt{max\_length}

    (undivided with ``norm=None``), which is what CountVectorizer and TfidfVectorizer make of texts.

    Parameters
    ----------
    max_length : int
        Words per document, at most; only those in the vocabulary count.
    max_count : int or array-like of shape (n_words,), optional
        How often a document may use each word; 0 excludes it, 1 for all is ``binary=True``. By
        default only the length is limited.
    min_length : int, default=0
        Words per document, at least. With a norm, 0 or 1: whether a document may be empty.
    idf : array-like of shape (n_words,), optional
        The weight of each word, above 0; 1 by default.
    norm : None, "l1" or "l2"
        What the row is divided by: nothing, its sum or its length. An empty document stays zero.
    labels : sequence, optional
        The labels that documents may carry; both by default.
    names : sequence of str, optional
        The words.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, and the word where one is to blame.

    Examples
    --------
    >>> from mtpfast import DocumentSpace
    >>> space = DocumentSpace(max_length=5, max_count=[3, 1], names=["cheap", "meeting"])
    >>> space.contains([[3, 1], [4, 0], [0.5, 0]])
    array([ True, False, False])
    >>> space.why_not([[3, 1], [4, 0], [0.5, 0]])
    ['', "word 0 ('cheap') is used 4 times, max_count is 3", "word 0 ('cheap') is used 0.5 times, not a whole number"]
    """

    arguments = ("max_length", "max_count", "min_length", "idf", "norm", "labels", "names")
    is_box = False

    def __init__(self, max_length, max_count=None, *, min_length=0, idf=None, norm=None, labels=None, names=None):
        super().__init__(labels, names)
        self.max_length = check_count(max_length, "max_length")
        self.min_length = check_count(min_length, "min_length", low=0)
        if norm not in NORMS:
            raise ValueError(f"norm must be None, 'l1' or 'l2', got {norm!r}")
        self.norm = norm
        if self.min_length > self.max_length:
            raise ValueError(f"min_length is {self.min_length}, above max_length {self.max_length}")
        if norm is not None and self.min_length > 1:
            raise ValueError(f"min_length must be 0 or 1 with a norm, which forgets the length, got {self.min_length}")
        self.max_count = None if max_count is None else self._read_max_count(max_count)
        self.idf = None if idf is None else self._read_idf(idf)
        self._check_labels()
        if self.n_features is not None:
            self._kept(None, self.n_features)

    @classmethod
    def from_data(cls, X, max_length=None, max_count=None, **rules) -> DocumentSpace:
        """The smallest space that holds every row of a matrix of counts.

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_documents, n_words)
            Whole counts, before ``idf`` and ``norm``. The names of a DataFrame are taken over.
        max_length : int, optional
            By default that of the longest row.
        max_count : int or array-like of shape (n_words,), optional
            By default the largest count of each word.
        **rules
            ``min_length``, ``idf``, ``norm``, ``labels``, ``names`` of the space.

        Examples
        --------
        >>> from mtpfast import DocumentSpace
        >>> DocumentSpace.from_data([[2, 0, 1], [0, 1, 0]])
        DocumentSpace(max_length=3, max_count=[2, 1, 1])
        """
        if rules.get("names") is None and is_frame(X):
            rules["names"] = tuple(map(str, column_names(X)))
        X = check_X(X)
        values = X.data if sp.issparse(X) else X
        if np.any(values < 0.0) or np.any(values != np.rint(values)):
            bad = values[(values < 0.0) | (values != np.rint(values))]
            raise ValueError(f"X must hold counts, whole and not negative, got {bad[0]:g}")
        if max_count is None:
            high = X.max(axis=0)
            max_count = (high.toarray() if sp.issparse(high) else np.asarray(high)).ravel().astype(np.int64)
        if max_length is None:
            max_length = max(1, int(np.max(X.sum(axis=1))))
        return cls(max_length, max_count, **rules)

    # -- what the other layers read -----------------------------------------------------------

    @property
    def n_features(self) -> int | None:
        """The number of words, where the arguments tell it."""
        for values in (getattr(self, "max_count", None), getattr(self, "idf", None), self.names):
            if np.ndim(values) == 1 or isinstance(values, tuple):
                return len(values)
        return None

    def region_of(self, label, n_features) -> DocumentRegion:
        """The documents; those of one label are those of the other."""
        count = self.max_length if self.max_count is None else self.max_count
        region = DocumentRegion(
            np.minimum(np.full(n_features, count, dtype=float), self.max_length),
            np.full(n_features, 1.0 if self.idf is None else self.idf, dtype=float),
            self.max_length,
            self.min_length,
            self.norm,
        )
        most = int(region.max_count.sum())
        if most < self.min_length:
            raise ValueError(f"max_count allows documents of {most} words, min_length is {self.min_length}")
        return region

    def _check_size(self, n_features):
        own = self.n_features
        if own is not None and own != n_features:
            raise ValueError(f"feasible_set has {own} words, expected {n_features} features")

    def counts(self, X):
        """How often each row uses each word: CSR matrix of shape (n_rows, n_words); the shortest document
        where a norm leaves several.

        Raises
        ------
        ValueError
            For a row that is not one of a document, saying why.
        """
        space, X = self._read(X)
        X = sp.csr_matrix(X)
        region = space._kept(None, X.shape[1])
        counts = X.copy()
        for i, (a, b) in enumerate(zip(X.indptr[:-1], X.indptr[1:], strict=True)):
            found = region.counts_of(X.data[a:b], X.indices[a:b])
            if found is None:
                raise ValueError(f"row {i} of X: {space.why_not(X[i])[0] or 'it is not the row of a document'}")
            counts.data[a:b] = found
        counts.eliminate_zeros()
        return counts

    def rows(self, counts):
        """The rows of documents: CSR matrix of shape (n_documents, n_words), as scikit-learn computes them.

        Parameters
        ----------
        counts : array-like or sparse matrix of shape (n_documents, n_words)
        """
        X = check_X(counts, "counts", min_rows=0)
        X = sp.csr_matrix(X, copy=True)
        X.eliminate_zeros()
        region = self._kept(None, X.shape[1])
        for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True):
            X.data[a:b] = region.row(X.data[a:b], X.indices[a:b])
        return X

    def __eq__(self, other) -> bool:
        """Whether the spaces hold the same rows for the same labels; names are no part of it."""
        if not isinstance(other, DocumentSpace):
            return NotImplemented
        if self._only_label() != other._only_label():
            return False
        sizes = {space.n_features for space in (self, other)} - {None}
        if len(sizes) > 1:
            return False
        d = sizes.pop() if sizes else 1
        return self._kept(None, d) == other._kept(None, d)

    __hash__ = None

    def __repr__(self) -> str:
        parts = [f"max_length={self.max_length}"]
        for name in ("max_count", "idf"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name}={_show(value)}")
        if self.min_length:
            parts.append(f"min_length={self.min_length}")
        if self.norm is not None:
            parts.append(f"norm={self.norm!r}")
        if self.labels is not None:
            parts.append(f"labels={list(self.labels)}")
        if self.names is not None:
            parts.append(f"names={list(self.names) if len(self.names) <= SHOWN else f'<{len(self.names)} words>'}")
        return f"DocumentSpace({', '.join(parts)})"

    # -- reading ------------------------------------------------------------------------------

    def _word(self, j):
        return f"word {j}" if self.names is None or j >= len(self.names) else f"word {j} ({self.names[j]!r})"

    def _read_max_count(self, value):
        if np.ndim(value) == 0:
            return check_count(value, "max_count")
        counts = np.asarray(value)
        if counts.ndim != 1:
            raise ValueError(f"max_count must be a number or one number per word, got shape {counts.shape}")
        if counts.dtype.kind not in "biuf":
            raise TypeError(f"max_count must be whole numbers, got dtype {counts.dtype}")
        counts = counts.astype(float)
        bad = ~(np.isfinite(counts) & (counts >= 0.0) & (counts == np.rint(counts)))
        if np.any(bad):
            j = int(np.argmax(bad))
            raise ValueError(f"max_count must be whole and not negative, got {counts[j]:g} for {self._word(j)}")
        self._same_number(counts, "max_count")
        return read_only(counts.astype(np.int64))

    def _read_idf(self, value):
        try:
            idf = np.array(value, dtype=float)
        except (TypeError, ValueError):
            raise TypeError(f"idf must be one number per word, got {value!r}") from None
        if idf.ndim != 1:
            raise ValueError(f"idf must be one number per word, got shape {idf.shape}")
        bad = ~(np.isfinite(idf) & (idf > 0.0))
        if np.any(bad):
            j = int(np.argmax(bad))
            raise ValueError(f"idf must be finite and above 0, got {idf[j]:g} for {self._word(j)}")
        self._same_number(idf, "idf")
        return read_only(idf)

    def _same_number(self, values, name):
        for other_name in ("names", "max_count"):
            other = getattr(self, other_name, None)
            if np.ndim(other) == 1 and len(other) != len(values):
                raise ValueError(f"{name} has {len(values)} words, {other_name} has {len(other)}")


def _show(value):
    if np.ndim(value) == 0:
        return str(value)
    if len(value) <= SHOWN:
        return np.array2string(np.asarray(value), separator=", ")
    return f"<{len(value)} values in [{np.min(value):g}, {np.max(value):g}]>"

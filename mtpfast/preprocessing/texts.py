"""Texts, and the rows that a vectorizer makes of them: there and back."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frames import as_texts
from mtpfast.spaces.documents import DocumentSpace
from mtpfast.spaces.features import FeatureSpace

from . import steps
from .steps import is_fitted, to_matrix

__all__ = ["TextCodec", "is_vectorizer"]


LONGEST = 10_000  # words of a text that is written for a row


def is_vectorizer(preprocessing) -> bool:
    """Whether a preprocessing, fitted or not, begins with one of scikit-learn's vectorizers of text."""
    return steps.is_vectorizer(preprocessing.steps[0][1] if getattr(preprocessing, "steps", None) else preprocessing)


class TextCodec:
    """Texts to the rows that a vectorizer makes of them, and back.

    A row is written as the words that it counts, the most frequent first, with blanks between them. That
    is a text which the vectorizer maps to exactly this row, bit for bit.

    Parameters
    ----------
    vectorizer : fitted CountVectorizer or TfidfVectorizer
        Or a Pipeline of a CountVectorizer and a TfidfTransformer. Of single words.
    X : array of str, shape (n_texts,)
        The raw texts; not kept.

    Attributes
    ----------
    space : DocumentSpace
        The rows of texts: one word at least, no more than the longest text in X has, and of each word no more
        than any text in X (only words of the vocabulary count). A word that the vectorizer would not find
        in a text again, such as a stop word of a fixed vocabulary, is excluded.
    rounding : ndarray of shape (n_words,)
        Zero: see :class:`mtpfast.preprocessing.tables.RecordCodec`.
    names : list of str
        The words.
    excluded : list of str
        Words of the vocabulary that no text can have.

    Raises
    ------
    TypeError
        For a vectorizer, or a use of one, whose rows cannot be written as words. The message names it.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from mtpfast.arrays.frames import as_texts
    >>> from mtpfast.preprocessing.texts import TextCodec
    >>> texts = as_texts(["cheap pills, cheap!", "the meeting is moved"])
    >>> codec = TextCodec(CountVectorizer().fit(texts), texts)
    >>> codec.names
    ['cheap', 'is', 'meeting', 'moved', 'pills', 'the']
    >>> codec.decode([[2, 0, 1, 0, 0, 0]]).tolist()
    ['cheap cheap meeting']
    """

    def __init__(self, vectorizer, X):
        if not is_fitted(vectorizer):
            raise TypeError(f"preprocessing is a {type(vectorizer).__name__} that is not fitted")
        self._transformer = vectorizer
        counter, weighting = _parts(vectorizer)
        self.names = list(map(str, counter.get_feature_names_out()))
        self.n_features = len(self.names)
        self.rounding = np.zeros(self.n_features)
        self._refuse_unknown(counter, weighting)
        lost = self._lost(counter)
        self.excluded = [self.names[j] for j in np.flatnonzero(lost)]
        # The counts are those of the counter alone: a TfidfVectorizer is one, and weighs them afterwards.
        counts = sp.csr_matrix(_counts(counter, X))
        use_idf = weighting is not None and weighting.use_idf
        self._idf = np.array(weighting.idf_, dtype=float) if use_idf else None
        self._norm = None if weighting is None else weighting.norm
        self._binary = counter.binary
        self._limits = {
            "max_count": np.where(lost, 0, counts.max(axis=0).toarray().ravel().astype(np.int64)),
            "max_length": max(1, int(np.max(counts.sum(axis=1)))),
        }
        self.space = self._space(**self._limits)
        sample = np.unique(np.linspace(0, len(X) - 1, min(len(X), 200)).astype(np.intp))
        if (sp.csr_matrix(self.encode(X[sample])) != self.space.rows(counts[sample])).nnz:
            raise TypeError(f"{type(vectorizer).__name__} does not make of its words what its parameters say")

    def _space(self, max_length, max_count=None, min_length=1, labels=None):
        if self._binary:
            max_count = 1 if max_count is None else np.minimum(max_count, 1)
        if self.excluded:
            out = np.isin(self.names, self.excluded)
            max_count = np.where(out, 0, max_length if max_count is None else max_count)
        return DocumentSpace(
            max_length,
            max_count,
            min_length=min_length,
            idf=self._idf,
            norm=self._norm,
            labels=labels,
            names=self.names,
        )

    # -- there and back -----------------------------------------------------------------------

    def encode(self, texts) -> sp.csr_matrix:
        """What the vectorizer makes of texts: CSR matrix of shape (n_texts, n_words)."""
        if len(texts) == 0:
            return sp.csr_matrix((0, self.n_features))
        rows = to_matrix(self._transformer.transform(texts))
        rows.eliminate_zeros()
        return rows

    def decode(self, points) -> np.ndarray:
        """Texts whose rows are ``points``: array of str, shape (n_points,).

        Parameters
        ----------
        points : array-like or sparse matrix of shape (n_points, n_words)
            Rows of documents.
        """
        counts = self._space(LONGEST, min_length=0).counts(points)
        texts = np.empty(counts.shape[0], dtype=object)
        for i, (a, b) in enumerate(zip(counts.indptr[:-1], counts.indptr[1:], strict=True)):
            often, words = counts.data[a:b].astype(np.int64), counts.indices[a:b]
            order = np.lexsort((words, -often))
            texts[i] = " ".join(word for k in order for word in [self.names[words[k]]] * often[k])
        return texts

    def canonical(self, points) -> sp.csr_matrix:
        """``encode(decode(points))``: CSR matrix of shape (n_points, n_words)."""
        return self.encode(self.decode(points))

    def has(self, points) -> np.ndarray:
        """For every point, whether it is the row of a text, bit for bit: boolean array of shape (n_points,)."""
        points = sp.csr_matrix(points)
        has = self._space(LONGEST, min_length=0).contains(points)
        rows = np.flatnonzero(has)
        if len(rows):
            has[rows] = (self.canonical(points[rows]) != points[rows]).getnnz(axis=1) == 0
        return has

    def probes(self) -> np.ndarray:
        """Texts that tell all models apart that texts can tell apart: the empty one, and one of every word."""
        return as_texts(["", *(word for word in self.names if word not in set(self.excluded))])

    def model_of(self, answers, near) -> np.ndarray:
        """``(w, b)`` of the model with these answers on :meth:`probes`; excluded words weigh as in ``near``."""
        model = np.array(near, dtype=float)
        kept = ~np.isin(self.names, self.excluded)
        rows = self.encode(self.probes()[1:])
        model[-1] = answers[0]
        model[:-1][kept] = (answers[1:] - answers[0]) / rows.max(axis=1).toarray().ravel()
        return model

    def narrow(self, given: FeatureSpace) -> DocumentSpace:
        """The rows of texts within the limits of another space, in place of those of the data.

        Parameters
        ----------
        given : DocumentSpace
            Its lengths, ``max_count`` and labels are used; ``idf`` and ``norm`` are the vectorizer's, and may be left
            out.
        """
        if not isinstance(given, DocumentSpace):
            raise TypeError(f"feasible_set must be a DocumentSpace where the victim reads text, got {given!r}")
        given = given.bind(self.names)
        if given.norm not in (None, self._norm):
            raise ValueError(f"feasible_set has norm={given.norm!r}, the vectorizer {self._norm!r}")
        if given.idf is not None and not (self._idf is not None and np.array_equal(given.idf, self._idf)):
            raise ValueError("feasible_set has an idf that is not the vectorizer's: leave it out")
        least = given.min_length if self._norm is None else min(given.min_length, 1)
        given.bounds(self.n_features)  # a space that does not fit is refused in its own words
        return self._space(given.max_length, given.max_count, least, given.labels)

    def __repr__(self) -> str:
        return f"<TextCodec: {self.n_features} words, {self.space!r}>"

    # -- construction -------------------------------------------------------------------------

    def _refuse_unknown(self, counter, weighting):
        kind = type(counter).__name__
        for name, expected in (("analyzer", "word"), ("ngram_range", (1, 1)), ("input", "content")):
            value = getattr(counter, name)
            if value != expected:
                raise TypeError(f"{kind} has {name}={value!r}, expected {expected!r}: its rows are not those of words")
        if weighting is None:
            return
        if weighting.sublinear_tf:
            raise TypeError(f"{type(weighting).__name__} has sublinear_tf=True, expected False: rows of whole counts")
        if np.dtype(getattr(counter, "dtype", np.float64)) == np.float32 and weighting is counter:
            raise TypeError(f"{kind} has dtype float32, expected float64: the victim is trained on float64")

    def _lost(self, counter):
        """Words that the vectorizer does not find again: boolean array of shape (n_words,)."""
        analyze, names = counter.build_analyzer(), self.names
        lost = np.array([analyze(word) != [word] for word in names], dtype=bool)
        kept = [word for word, gone in zip(names, lost, strict=True) if not gone]
        if not kept:
            raise TypeError(f"{type(counter).__name__} finds none of its own words in a text again")
        if analyze(" ".join(kept)) != kept:
            pattern = counter.token_pattern if counter.tokenizer is None else counter.tokenizer
            raise TypeError(
                f"{type(counter).__name__} does not tell words apart by the blanks between them "
                f"(token_pattern or tokenizer {pattern!r})"
            )
        return lost


def _parts(vectorizer):
    """The step that counts words and the one that weighs them (None: none does)."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer

    steps = [step for _, step in getattr(vectorizer, "steps", [("", vectorizer)]) if step not in (None, "passthrough")]
    counter = steps[0]
    if not isinstance(counter, CountVectorizer):
        raise TypeError(f"{type(counter).__name__} is not supported: it does not say which words its columns count")
    if isinstance(counter, TfidfVectorizer):
        steps.insert(1, counter)
    for step in steps[1:2]:
        if not isinstance(step, (TfidfTransformer, TfidfVectorizer)):
            raise TypeError(
                f"{type(step).__name__} after {type(counter).__name__} is not supported, expected TfidfTransformer"
            )
    if len(steps) > 2:
        raise TypeError(f"{type(steps[2]).__name__} after {type(counter).__name__} is not supported")
    return counter, steps[1] if len(steps) > 1 else None


def _counts(counter, X):
    """What a vectorizer counts, before it weighs."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer.transform(counter, X)

"""Texts in, texts out: what the vectorizers make of a point's words is the point, bit for bit."""

import dataclasses
import io
import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.svm import LinearSVC

from mtpfast import (
    CandidatePool,
    DocumentSpace,
    FeatureSpace,
    MinimumPoisoner,
    ModelTargetedPoisoner,
    PoisoningResult,
    VerificationError,
    max_loss_difference,
)
from mtpfast.arrays.frames import as_texts
from mtpfast.losses.margin import get_loss
from mtpfast.preprocessing.texts import TextCodec
from mtpfast.verification.maximum import attained_and_proved

SPAM = "win a cheap prize now call free call cheap pills offer win cash Äpfel"
HAM = "the meeting is moved to monday please call me about the report thanks"
VECTORIZERS = {
    "counts": CountVectorizer(),
    "binary": CountVectorizer(binary=True),
    "tfidf": TfidfVectorizer(),
    "l1": TfidfVectorizer(norm="l1", use_idf=False),
    "no norm": TfidfVectorizer(norm=None, smooth_idf=False),
    "two steps": make_pipeline(CountVectorizer(min_df=2), TfidfTransformer()),
    "stop words": TfidfVectorizer(stop_words=["the", "is"], strip_accents="unicode", max_df=0.9),
    "own words": CountVectorizer(vocabulary=["cheap", "call", "the", "report"]),
}


def corpus(n=60, seed=0):
    """Texts of two kinds, with one of every word at least, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.where(np.arange(n) % 2 == 0, "spam", "ham")
    words = [SPAM.split(), HAM.split()]
    texts = [SPAM, HAM]
    for label in labels[2:]:
        own, other = words if label == "spam" else words[::-1]
        picks = np.concatenate([rng.choice(own, rng.integers(3, 9)), rng.choice(other, rng.integers(0, 3))])
        texts.append(", ".join(picks))
    return texts, labels


@pytest.mark.parametrize("name", VECTORIZERS)
def test_rows_and_texts_translate_into_one_another_bit_for_bit(name):
    texts = as_texts(corpus()[0])
    vectorizer = VECTORIZERS[name].fit(texts)
    codec = TextCodec(vectorizer, texts)
    rows = sp.csr_matrix(vectorizer.transform(texts)).astype(float)
    used = rows[np.flatnonzero(rows.getnnz(axis=1))]
    written = codec.decode(used)
    # A text of fewer words in the same proportions has the same row but for rounding; written again, no more.
    assert abs(codec.encode(written) - used).max() < 1e-15
    assert_array_equal(codec.encode(codec.decode(codec.encode(written))).toarray(), codec.encode(written).toarray())
    assert codec.has(codec.encode(written)).all()
    assert not codec.has(used.toarray() * 0.9 + 0.01).any()
    assert codec.space.contains(used).all()
    assert codec.names == list(vectorizer.get_feature_names_out())


@pytest.mark.parametrize("name", VECTORIZERS)
def test_documents_of_the_space_are_written_as_they_are_mapped(name):
    """Vertices of the convex set and documents near its points: the vectorizer returns exactly these rows."""
    texts = as_texts(corpus()[0])
    codec = TextCodec(VECTORIZERS[name].fit(texts), texts)
    region = codec.space.regions(codec.n_features)[1.0]
    rng = np.random.default_rng(1)
    points = np.array([region.linear_argmax(rng.normal(size=codec.n_features)) for _ in range(40)])
    assert_array_equal(codec.canonical(points).toarray(), points)
    assert codec.has(points).all()


def test_the_space_of_the_data():
    texts = as_texts(["cheap cheap pills", "the report", "the cheap report is cheap"])
    codec = TextCodec(CountVectorizer().fit(texts), texts)
    assert (codec.space.max_length, codec.space.min_length) == (5, 1)
    assert codec.space.max_count.tolist() == [2, 1, 1, 1, 1]
    assert codec.decode([[1, 0, 2, 0, 0]]).tolist() == ["pills pills cheap"]
    assert TextCodec(CountVectorizer(binary=True).fit(texts), texts).space.max_count.tolist() == [1] * 5


def test_words_that_no_text_can_have_are_excluded():
    texts = as_texts(["a cheap offer", "the report"])
    vectorizer = CountVectorizer(vocabulary=["cheap", "the", "two words", "a"], stop_words=["the"]).fit(texts)
    codec = TextCodec(vectorizer, texts)
    assert codec.excluded == ["the", "two words", "a"]  # words of one letter are no tokens
    assert codec.space.max_count.tolist() == [1, 0, 0, 0]
    assert codec.narrow(DocumentSpace(7)).max_count.tolist() == [7, 0, 0, 0]


@pytest.mark.parametrize(
    "vectorizer, message",
    [
        (CountVectorizer(ngram_range=(1, 2)), r"CountVectorizer has ngram_range=\(1, 2\), expected \(1, 1\)"),
        (TfidfVectorizer(analyzer="char"), "TfidfVectorizer has analyzer='char', expected 'word'"),
        (CountVectorizer(analyzer=str.split), "CountVectorizer has analyzer="),
        (TfidfVectorizer(sublinear_tf=True), "TfidfVectorizer has sublinear_tf=True, expected False"),
        (make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)), "TfidfTransformer has sublinear_tf"),
        (TfidfVectorizer(dtype=np.float32), "TfidfVectorizer has dtype float32, expected float64"),
        (make_pipeline(CountVectorizer(), MaxAbsScaler()), "MaxAbsScaler after CountVectorizer is not supported"),
        (make_pipeline(TfidfVectorizer(), MaxAbsScaler()), "MaxAbsScaler after TfidfVectorizer is not supported"),
        (HashingVectorizer(n_features=16), "HashingVectorizer is not supported"),
        (CountVectorizer(token_pattern=r"(?u)\w+.*"), "does not tell words apart by the blanks between them"),
    ],
)
def test_other_vectorizers_are_refused_by_name(vectorizer, message):
    texts, labels = corpus()
    with pytest.raises(TypeError, match=message):
        TextCodec(vectorizer.fit(texts), as_texts(texts))
    with pytest.raises(TypeError, match=message):
        ModelTargetedPoisoner(preprocessing=vectorizer).fit(texts, labels)


def test_what_is_no_list_of_texts_is_refused():
    attacker = ModelTargetedPoisoner(preprocessing=CountVectorizer())
    with pytest.raises(TypeError, match="X is one string, expected a list, an array or a Series of them"):
        attacker.fit("spam", ["ham"])
    with pytest.raises(TypeError, match="X must hold strings, got None in row 1"):
        attacker.fit(["spam", None], ["a", "b"])
    with pytest.raises(TypeError, match="X is a DataFrame, expected a list, an array or a Series of strings"):
        attacker.fit(pd.DataFrame({"text": ["spam", "ham"]}), ["a", "b"])
    with pytest.raises(ValueError, match="X has no texts"):
        attacker.fit([], [])


@pytest.mark.parametrize("name", VECTORIZERS)
@pytest.mark.parametrize("last", [LinearSVC(loss="hinge"), LogisticRegression()], ids=["svc", "logistic"])
def test_an_attack_on_a_pipeline_gives_texts(name, last):
    """The pipeline maps them to exactly the points of the attack; every claim of the result holds."""
    texts, labels = corpus()
    pipeline = make_pipeline(VECTORIZERS[name], last)
    attacker = ModelTargetedPoisoner.from_estimator(pipeline, max_points=25, tol=0.0).fit(texts, labels)
    assert_array_equal(np.unique(attacker.predict(texts)), ["ham", "spam"])
    target = make_pipeline(attacker.preprocessing_, type(last)(**last.get_params()))
    target[-1].fit(target[0].transform(texts), np.roll(labels, 20) if name == "own words" else labels[::-1])
    result = attacker.attack(target)
    assert result.X_poison.shape == (result.n_points,)
    assert all(type(text) is str and text for text in result.X_poison)
    mapped = sp.csr_matrix(attacker.preprocessing_.transform(result.X_poison)).astype(float)
    assert (mapped != sp.csr_matrix(result.points)[result.sequence]).nnz == 0
    assert result.feasible_set.contains(mapped).all()
    report = result.verify(texts, labels)
    assert report.ok
    assert any(check.name == "records that are mapped elsewhere" for check in report.checks)

    all_texts, all_labels, mask = result.poisoned(texts, labels)
    assert all_texts == [*texts, *result.X_poison]
    assert mask.sum() == result.n_points
    assert len(all_labels) == len(all_texts)
    assert_array_equal(result.at_budget(3).X_poison, result.X_poison[:3])


def test_texts_come_as_lists_arrays_and_series():
    texts, labels = corpus()
    results = []
    for kind in (list, np.array, pd.Series, lambda t: np.array(t, dtype=object)):
        X = kind(texts)
        attacker = ModelTargetedPoisoner(preprocessing=TfidfVectorizer(), alpha=0.1, max_points=4).fit(X, labels)
        result = attacker.attack((-attacker.coef_, -attacker.intercept_))
        assert type(result.poisoned(X, labels)[0]) is type(X)
        assert list(result.poisoned(X, labels)[0]) == [*texts, *result.X_poison]
        results.append(list(result.X_poison))
    assert all(found == results[0] for found in results)


def test_a_result_with_texts_is_saved_and_goes_on():
    texts, labels = corpus()
    attacker = ModelTargetedPoisoner(preprocessing=TfidfVectorizer(), alpha=0.1, max_points=4).fit(texts, labels)
    target = (-attacker.coef_, -attacker.intercept_)
    result = attacker.attack(target)
    file = io.BytesIO()
    result.save(file)
    file.seek(0)
    again = PoisoningResult.load(file)
    assert_array_equal(again.X_poison, result.X_poison)
    assert again.verify(texts, labels, preprocessing=attacker.preprocessing_).ok
    more = attacker.set_params(max_points=8).attack(target, resume=again)
    assert_array_equal(more.X_poison[:4], result.X_poison)


def test_refitting_the_vectorizer_is_measured():
    """Documents of known words leave the vocabulary as it is; with idf they change its weights."""
    texts, labels = corpus()
    for vectorizer in (CountVectorizer(), TfidfVectorizer(norm=None)):
        attacker = ModelTargetedPoisoner(preprocessing=vectorizer, alpha=0.1, max_points=10).fit(texts, labels)
        result = attacker.attack((-attacker.coef_, -attacker.intercept_))
        refitted = result.verify(texts, labels, refit_preprocessing=True).refitted
        # Undivided rows are linear in the counts, so a model of the new weights is one of the old.
        assert refitted.unexplained < 1e-9
        if isinstance(vectorizer, TfidfVectorizer):
            assert refitted.shift_max > 1e-6
        else:
            assert refitted.shift_max < 1e-6


def test_the_minimum_gives_texts_too():
    texts, labels = corpus()
    optimizer = MinimumPoisoner(preprocessing=TfidfVectorizer(), loss="log_loss", alpha=0.1).fit(texts, labels)
    target = (0.5 * optimizer.coef_, 0.5 * optimizer.intercept_)
    result = optimizer.attack(target)
    assert result.n_points >= result.lower_bound >= 1
    assert all(type(text) is str for text in result.X_poison)
    assert result.verify(texts, labels).ok


def test_a_given_space_sets_the_limits():
    texts, labels = corpus()
    space = DocumentSpace(3, 2, labels=["spam"])
    attacker = ModelTargetedPoisoner(preprocessing=TfidfVectorizer(), alpha=0.1, feasible_set=space, max_points=6)
    attacker.fit(texts, labels)
    result = attacker.attack((-attacker.coef_, -attacker.intercept_))
    assert max(len(text.split()) for text in result.X_poison) <= 3
    assert set(result.y_poison) == {"spam"}
    assert result.verify(texts, labels).ok
    for given, error, message in (
        (FeatureSpace(), TypeError, "feasible_set must be a DocumentSpace where the victim reads text"),
        (DocumentSpace(3, norm="l1"), ValueError, "feasible_set has norm='l1', the vectorizer 'l2'"),
        (DocumentSpace(3, idf=np.ones(21)), ValueError, "feasible_set has an idf that is not the vectorizer's"),
        (DocumentSpace(3, [1, 2]), ValueError, "max_count has 2 words, names has 21"),
        (CandidatePool(np.ones((1, 21))), ValueError, "row 0 of X_cand is not the row of any record"),
    ):
        with pytest.raises(error, match=message):
            attacker.set_params(feasible_set=given).attack((-attacker.coef_, -attacker.intercept_))
    rows = attacker.preprocessing_.transform(texts[:5])
    attacker.set_params(feasible_set=CandidatePool(rows), max_points=2)
    pooled = attacker.attack((-attacker.coef_, -attacker.intercept_))
    assert pooled.verify(texts, labels).ok


# -- the document of largest loss difference, whatever the vectorizer -----------------------------

WORDS = ["cheap", "pills", "meeting", "now", "win"]
EVERY_VECTORIZER = [
    *(CountVectorizer(binary=binary) for binary in (False, True)),
    *(
        TfidfVectorizer(norm=norm, binary=binary, use_idf=use_idf, smooth_idf=smooth)
        for norm in (None, "l1", "l2")
        for binary in (False, True)
        for use_idf, smooth in ((True, True), (True, False), (False, True))
    ),
]


@pytest.mark.parametrize("vectorizer", EVERY_VECTORIZER, ids=repr)
def test_no_text_exceeds_what_is_proved_of_the_loss_difference(vectorizer):
    """Every text of the space, transformed by scikit-learn: value <= maximum <= upper_bound, both labels, every
    loss, whether the search may look at all of them or at none."""
    rng = np.random.default_rng(len(repr(vectorizer)))
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 5))) for _ in range(12)] + [" ".join(WORDS[:4])]
    fitted = clone(vectorizer).fit(texts)
    codec = TextCodec(fitted, as_texts(texts))
    region = codec.space.regions(codec.n_features)[1.0]
    limit = np.minimum(region.max_count, region.max_length).astype(int)
    every = [
        " ".join(word for word, k in zip(codec.names, c, strict=True) for _ in range(k))
        for c in itertools.product(*(range(k + 1) for k in limit))
        if region.min_length <= sum(c) <= region.max_length
    ]
    rows = fitted.transform(every).toarray()
    for loss, scale in itertools.product(("hinge", "squared_hinge", "log_loss"), (0.3, 3.0)):
        theta, target = scale * rng.normal(size=(2, codec.n_features + 1))
        phi = get_loss(loss).value
        u, v = (rows @ t[:-1] + t[-1] for t in (theta, target))
        brute = max(np.max(phi(y * u) - phi(y * v)) for y in (1.0, -1.0))
        room = 1e-12 * max(1.0, float(np.max(phi(-np.abs(u)))), float(np.max(phi(-np.abs(v)))))
        for nodes in (None, 0):
            found = max_loss_difference(theta, target, codec.space, loss, max_nodes=nodes)
            assert found.value <= brute + room
            assert brute <= found.upper_bound + room
        assert max_loss_difference(theta, target, codec.space, loss).value >= brute - 1e-9 * max(1.0, abs(brute))
        attained, proved = attained_and_proved(theta, target, codec.space, get_loss(loss))
        assert attained <= brute + room
        assert brute <= proved + 1e-9 * max(1.0, abs(brute))  # what the check's own tolerance leaves


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_check_bounds_what_documents_reach_where_they_are_too_many_to_look_at(norm, monkeypatch):
    """The hull alone: no document is above its bound, and the search for one comes as near as the product's."""
    monkeypatch.setattr("mtpfast.verification.document_maximum._all_documents", lambda region: None)
    rng = np.random.default_rng(7)
    for _ in range(25):
        d = int(rng.integers(2, 6))
        space = DocumentSpace(4, rng.integers(1, 4, d), min_length=1, idf=1.0 + 2.0 * rng.random(d), norm=norm)
        limit = space.regions(d)[1.0].max_count.astype(int)
        every = np.array(
            [c for c in itertools.product(*(range(k + 1) for k in limit)) if 1 <= sum(c) <= 4], dtype=float
        )
        rows = space.rows(every)
        theta, target = 2.0 * rng.normal(size=(2, d + 1))
        for loss in ("hinge", "log_loss"):
            phi = get_loss(loss).value
            u, v = (rows @ t[:-1] + t[-1] for t in (theta, target))
            brute = max(np.max(phi(y * u) - phi(y * v)) for y in (1.0, -1.0))
            attained, proved = attained_and_proved(theta, target, space, get_loss(loss))
            assert attained <= brute + 1e-12 * max(1.0, abs(brute))
            assert brute <= proved + 1e-9 * max(1.0, abs(brute))
            short = max_loss_difference(theta, target, space, loss, max_nodes=0)
            assert_allclose(proved, short.upper_bound, rtol=1e-6, atol=1e-9)


def test_verify_believes_no_maximum_that_is_short():
    """A loss difference below that of an allowed text, claimed to be the largest: found out, as value and as bound."""
    X, y = corpus()
    attacker = ModelTargetedPoisoner.from_estimator(
        make_pipeline(TfidfVectorizer(), LinearSVC(loss="hinge")), max_points=4, tol=0.01
    ).fit(X, y)
    result = attacker.attack((-attacker.coef_, -attacker.intercept_))
    assert result.loss_difference <= result.loss_difference_upper_bound
    assert result.verify(X, y).ok
    less = 0.8 * result.loss_difference
    for change in (
        {"loss_difference": less, "loss_difference_upper_bound": less},
        {"loss_difference_upper_bound": 1.01 * less},
        {"loss_difference": 2.0 * result.loss_difference_upper_bound},
        {"loss_difference": less, "loss_difference_upper_bound": less, "tol": less, "status": "reached"},
    ):
        with pytest.raises(VerificationError, match="loss difference"):
            dataclasses.replace(result, **change).verify(X, y)
    file = io.BytesIO()
    result.save(file)
    file.seek(0)
    again = PoisoningResult.load(file)
    assert again.loss_difference_upper_bound == result.loss_difference_upper_bound
    assert_array_equal(again.history["loss_difference_upper_bound"], result.history["loss_difference_upper_bound"])

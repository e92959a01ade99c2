"""What every sanitiser promises: shares, ties, planted outliers, and spaces of what passes."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn import ensemble, neighbors
from sklearn.linear_model import LogisticRegression

from mtpfast import Ball, FeatureSpace, Intersection, Slab
from mtpfast.arrays.rows import row_groups
from mtpfast.defences import (
    ECOD,
    SVD,
    IsolationForest,
    IteratedLoss,
    LabelQuality,
    LocalOutlierFactor,
    Loss,
    NearestNeighbors,
    Oracle,
    RandomRemoval,
    RepeatedRows,
    SlabDefence,
    Sphere,
    Validity,
    as_defence,
    default_defences,
)
from mtpfast.defences.base import select

RANKING = [
    RepeatedRows(),
    RepeatedRows(decimals=2),
    Validity(FeatureSpace(-4.0, 4.0)),
    ECOD(),
    IsolationForest(n_estimators=20),
    LocalOutlierFactor(),
    NearestNeighbors(),
    LabelQuality(),
    Loss(),
    Loss(LogisticRegression()),
    IteratedLoss(),
    Sphere(),
    SlabDefence(),
    SVD(n_components=2),
    RandomRemoval(),
]


def table(n=120, d=4, seed=0):
    """Two classes around (2, ..., 2) and (-2, ..., -2), within 4 of 0."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 3 == 0, 1, -1)
    X = np.clip(0.6 * rng.standard_normal((n, d)), -1.5, 1.5) + 2.0 * y[:, None]
    return X, y


@pytest.mark.parametrize("defence", RANKING, ids=lambda d: d.name)
@pytest.mark.parametrize("share", [0.0, 0.03, 0.1])
def test_keep_removes_exactly_the_share(defence, share):
    X, y = table(n=110)
    kept = defence.keep(X, y, share)
    assert kept.dtype == bool
    assert np.count_nonzero(~kept) == round(share * len(y))


@pytest.mark.parametrize("defence", RANKING, ids=lambda d: d.name)
def test_sparse_rows_are_judged_like_dense_ones(defence):
    """Within 1e-6 of the size of the scores: other orders of summation, and of a forest's cuts none."""
    X, y = table()
    X[np.abs(X) < 1.5] = 0.0
    dense, thin = (defence.fit(rows, y).scores(rows, y) for rows in (X, sp.csr_matrix(X)))
    np.testing.assert_allclose(thin, dense, rtol=0, atol=1e-6 * max(1.0, np.abs(dense).max()))


def test_of_equal_scores_the_later_row_goes_first():
    assert select([1.0, 3.0, 1.0, 1.0], 0.5).tolist() == [True, False, True, False]
    assert select([0.0] * 5, 0.4).tolist() == [True, True, True, False, False]
    with pytest.raises(ValueError, match="row 1"):
        select([0.0, np.nan], 0.5)


@pytest.mark.parametrize(
    "defence",
    [
        Validity(FeatureSpace(-4.0, 4.0)),
        ECOD(),
        IsolationForest(),
        LocalOutlierFactor(),
        NearestNeighbors(),
        LabelQuality(),
        Loss(),
        IteratedLoss(),
        Sphere(),
        SlabDefence(),
    ],
    ids=lambda d: d.name,
)
def test_planted_outliers_are_found(defence):
    """Four rows far beyond the other class, with the wrong label: nothing else is as far out, or as wrong."""
    X, y = table()
    rng = np.random.default_rng(1)
    far = 9.0 + 3.0 * rng.standard_normal((4, X.shape[1]))
    X, y = np.vstack([X, far]), np.append(y, [-1] * 4)
    kept = defence.keep(X, y, 4 / len(y))
    assert np.flatnonzero(~kept).tolist() == list(range(len(y) - 4, len(y)))


def test_a_row_off_the_plane_is_found_by_the_subspace():
    X, y = table()
    X[:, 3] = X[:, 0] - X[:, 1] + X[:, 2]
    X[17, 3] += 1.0
    assert np.flatnonzero(~SVD(n_components=3).keep(X, y, 1 / len(y))).tolist() == [17]
    assert len(SVD().fit(X, y).components_) <= 3


def test_the_subspace_leaves_what_it_was_told():
    """The smallest k with ``|X - X V V'|_F <= left |X|_F``, against NumPy's singular values."""
    X, y = table(d=6)
    s = np.linalg.svd(X, compute_uv=False)
    for left in (0.5, 0.2, 0.05):
        k = next(k for k in range(7) if np.sqrt(np.sum(s[k:] ** 2)) <= left * np.linalg.norm(X))
        assert len(SVD(left=left).fit(X, y).components_) == k


def test_repeated_rows_keep_their_first():
    X, y = np.array([[1.0], [2.0], [-0.0], [2.0], [0.0], [2.0]]), [0, 1, 0, 1, 1, 0]
    for rows in (X, sp.csr_matrix(X)):
        assert RepeatedRows().keep(rows, y).tolist() == [True, True, True, False, False, False]
        assert RepeatedRows(max_repeats=2).keep(rows, y).tolist() == [True, True, True, True, True, False]
        assert RepeatedRows().fit(rows, y).scores(rows, y).tolist() == [1, 3, 2, 3, 2, 3]
        assert row_groups(rows).tolist() == [0, 1, 2, 1, 2, 1]
    assert RepeatedRows(decimals=1).keep([[0.52], [0.48]], y[:2]).tolist() == [True, False]
    assert row_groups(sp.csr_matrix([[0.04, 1.0], [0.0, 1.0]]), decimals=1).tolist() == [0, 0]


def test_nearest_neighbors_by_hand():
    """Against all distances: of a fitted row its own is not counted, of another row all are."""
    X, y = table(n=30)
    defence = NearestNeighbors(n_neighbors=3).fit(X, y)
    apart = np.sort(np.linalg.norm(X[:, None] - X[None], axis=2), axis=1)
    np.testing.assert_allclose(defence.scores(X, y), apart[:, 3], rtol=1e-9)  # differences of squares inside
    new = X[:5] + 0.1
    apart = np.sort(np.linalg.norm(new[:, None] - X[None], axis=2), axis=1)
    np.testing.assert_allclose(defence.scores(new, y[:5]), apart[:, 2], rtol=1e-9)


def test_ecod_by_hand():
    """Three rows, two columns: the tail sums written out."""
    X, y = np.array([[0.0, 0.0], [1.0, 3.0], [5.0, 3.0]]), [0, 1, 1]
    left = -np.log([[1 / 3, 1 / 3], [2 / 3, 1.0], [1.0, 1.0]])
    right = -np.log([[1.0, 1.0], [2 / 3, 2 / 3], [1 / 3, 2 / 3]])
    skewed = np.column_stack([right[:, 0], left[:, 1]])  # long to the right, long to the left
    expected = np.max([left.sum(axis=1), right.sum(axis=1), skewed.sum(axis=1)], axis=0)
    np.testing.assert_allclose(ECOD().fit(X, y).scores(X, y), expected, rtol=1e-12)  # logarithms of the same numbers


@pytest.mark.parametrize("defence", [Sphere(), SlabDefence()], ids=lambda d: d.name)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("labels", [(-1, 1), ("ham", "spam")])
def test_the_space_holds_exactly_what_is_kept(defence, share, labels):
    X, signs = table()
    y = np.array(labels)[(signs > 0).astype(int)]
    space = defence.space(X, y, share)
    assert isinstance(space, Ball if defence.name == "Sphere" else Slab)
    if defence.name == "SlabDefence":  # a slab has no end in other directions
        space = Intersection([FeatureSpace(-10.0, 10.0), space])
    np.testing.assert_array_equal(space.contains(X, y), defence.keep(X, y, share))


def test_the_space_of_valid_rows_holds_exactly_what_is_kept():
    X, y = np.array([[0.0], [1.0], [0.5]]), np.array([0, 1, 1])
    defence = Validity(FeatureSpace(0, 1, integer=[0]))
    np.testing.assert_array_equal(defence.space(X, y).contains(X, y), defence.keep(X, y))
    assert defence.keep(X, y).tolist() == [True, True, False]


def test_a_sanitiser_without_a_space_says_so():
    X, y = table()
    for defence in (ECOD(), Loss(), NearestNeighbors(), IsolationForest(), RepeatedRows()):
        with pytest.raises(TypeError, match=type(defence).__name__):
            defence.space(X, y)


def test_equal_rows_lie_in_one_fold_and_folds_are_shuffled():
    X, _ = table(n=60)
    X = np.vstack([X, np.repeat(X[:3], 10, axis=0)])
    folds = LabelQuality().folds(X)
    group = row_groups(X)
    assert all(len(set(folds[group == g])) == 1 for g in np.unique(group))
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 11  # a group of equal rows is not divided
    assert np.any(folds != LabelQuality(random_state=1).folds(X))
    assert len(set(folds[:12])) > 1  # not rows by their place


def test_copies_do_not_vouch_for_one_another():
    """Many copies of a row with the wrong label: a fold that divides them finds the label usual."""
    X, y = table()
    X, y = np.vstack([X, np.repeat([[2.2] * 4], 40, axis=0)]), np.append(y, [-1] * 40)
    kept = LabelQuality().keep(X, y, 40 / len(y))
    assert np.flatnonzero(~kept).tolist() == list(range(120, 160))


def test_trim_frees_itself_of_what_pulls_the_model():
    """Where the loss of the poisoned model names clean rows, the model of the remaining rows names the poison."""
    X, y = table(d=1)
    X, y = np.vstack([X, np.full((20, 1), 1.0)]), np.append(y, [-1] * 20)
    assert np.count_nonzero(~Loss().keep(X, y, 20 / len(y))[-20:]) < 20
    assert not np.any(IteratedLoss().keep(X, y, 20 / len(y))[-20:])


# -- what others have written --------------------------------------------------------------------------------------


def test_detectors_samplers_and_functions_are_defences():
    from imblearn.under_sampling import EditedNearestNeighbours, RandomUnderSampler

    X, y = table()
    forest = as_defence(ensemble.IsolationForest(random_state=3, n_estimators=20))
    assert forest.name == "IsolationForest"
    own = ensemble.IsolationForest(random_state=3, n_estimators=20).fit(X)
    np.testing.assert_array_equal(forest.keep(X, y), own.predict(X) == 1)
    np.testing.assert_array_equal(forest.keep(X, y, 0.1), select(-own.score_samples(X), 0.1))
    near = as_defence(neighbors.LocalOutlierFactor())
    np.testing.assert_array_equal(near.keep(X, y, 0.1), LocalOutlierFactor().keep(X, y, 0.1))
    kept = as_defence(RandomUnderSampler(random_state=0)).keep(X, y, 0.1)
    assert np.bincount(y[kept] + 1).tolist() == [40, 0, 40]
    assert as_defence(EditedNearestNeighbours()).keep(X, y).all()
    ordered = as_defence(lambda X, y: np.arange(len(y)) > 2)
    assert np.flatnonzero(~ordered.keep(X, y, 0.5)).tolist() == [0, 1, 2]
    assert as_defence(ordered) is ordered


@pytest.mark.parametrize(
    "obj, message",
    [
        (5, "fit_predict"),
        (ECOD, "class ECOD"),
        (lambda X, y: np.arange(len(y)), "booleans"),
    ],
)
def test_what_is_no_defence_is_named(obj, message):
    X, y = table()
    with pytest.raises(TypeError, match=message):
        as_defence(obj).keep(X, y)


def test_a_clusterer_and_an_over_sampler_are_no_defences():
    from imblearn.over_sampling import SMOTE
    from sklearn.cluster import KMeans

    X, y = table()
    with pytest.raises(TypeError, match="1 or -1"):
        as_defence(KMeans(3, n_init=1)).keep(X, y)
    with pytest.raises(TypeError, match="sample_indices_"):
        as_defence(SMOTE()).keep(X, y)


def test_errors_name_the_argument():
    X, y = table()
    for share in (1.0, -0.1, np.nan):
        with pytest.raises(ValueError, match="share"):
            Sphere().keep(X, y, share)
    with pytest.raises(ValueError, match="share must be given"):
        Sphere().keep(X, y)
    with pytest.raises(ValueError, match="one label per row"):
        Sphere().keep(X, y[:-1], 0.1)
    with pytest.raises(ValueError, match="two labels"):
        SlabDefence().keep(X, np.arange(len(y)) % 3, 0.1)
    with pytest.raises(ValueError, match="poison must be"):
        Oracle([True]).keep(X, y)
    with pytest.raises(ValueError, match="table that was fitted"):
        LocalOutlierFactor().fit(X, y).scores(X[:5], y[:5])
    with pytest.raises(ValueError, match="distinct rows"):
        LabelQuality().keep(np.ones((9, 1)), [0, 1] * 4 + [0], 0.1)


def test_default_defences_have_names_of_their_own():
    names = [defence.name for defence in default_defences(FeatureSpace(0, 1))]
    assert len(set(names)) == len(names)
    assert "Validity" in names

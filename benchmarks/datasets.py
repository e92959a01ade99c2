"""The data of the benchmarks: files beside the checkout (or under MTPFAST_DATA), as float64 rows in [0, 1]."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

DATA = Path(os.environ.get("MTPFAST_DATA") or Path(__file__).resolve().parents[1].parent / "shared" / "data")


def n_bytes(X) -> int:
    """What a dense or CSR matrix holds."""
    return X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if sp.issparse(X) else X.nbytes


class Dataset(NamedTuple):
    name: str
    X_train: object  # ndarray or CSR
    y_train: np.ndarray
    X_test: object
    y_test: np.ndarray

    @property
    def n_bytes(self):
        return n_bytes(self.X_train)


#: file, what every entry is divided by
FILES = {
    "adult": ("adult_ref.npz", 1.0),
    "adult_balanced": ("adult_balanced.npz", 1.0),
    "mnist": ("mnist_17.npz", 255.0),
    "mnist_69": ("mnist_69.npz", 255.0),
    "spambase": ("spambase.npz", 1.0),
    "enron": ("enron1.npz", None),  # counts, clipped to 0 / 1
    "imdb": ("imdb.npz", None),
    "sms": ("sms.npz", None),
    "compas": ("compas.npz", 1.0),
    "german": ("german.npz", 1.0),
    "bank": ("bank.npz", 1.0),
    "credit_default": ("credit_default.npz", 1.0),
}


def load(name: str) -> Dataset:
    """Load a data set; SystemExit says which file belongs where if it is not there."""
    file, scale = FILES[name]
    path = DATA / file
    if not path.exists():
        raise SystemExit(
            f"{file} is not in {DATA}: put it there, or set the environment variable MTPFAST_DATA to the folder "
            f"that holds it (arrays X_train, y_train, X_test, y_test; sparse: X_train_data, X_train_indices, "
            f"X_train_indptr, X_train_shape; labels -1 and +1)."
        )
    with np.load(path) as d:
        parts = []
        for part in ("train", "test"):
            if scale is None:
                X = sp.csr_matrix(
                    (
                        np.minimum(d[f"X_{part}_data"].astype(float), 1.0),
                        d[f"X_{part}_indices"].astype(np.int32),
                        d[f"X_{part}_indptr"].astype(np.int32),
                    ),
                    shape=tuple(d[f"X_{part}_shape"]),
                )
                X.sum_duplicates()
                X.sort_indices()
            else:
                X = np.ascontiguousarray(d[f"X_{part}"], dtype=np.float64)
                X /= scale
            parts += [X, d[f"y_{part}"].astype(float)]
    return Dataset(name, *parts)


def groups(name: str) -> list[tuple[int, int]]:
    """``[start, stop)`` of every block of one-hot columns; none where the file has no such blocks."""
    with np.load(DATA / FILES[name][0]) as d:
        return [tuple(map(int, block)) for block in d["groups"]] if "groups" in d.files else []


def adult_table():
    """The raw table of Adult as pandas reads it: (table, income) of the training part."""
    import pandas as pd

    path = DATA / "adult_raw.csv.gz"
    if not path.exists():
        raise SystemExit(
            f"{path.name} is not in {DATA}: put it there, or set the environment variable MTPFAST_DATA to the folder "
            f"that holds it (UCI's Adult with a header, and a column split of train and test)."
        )
    table = pd.read_csv(path)
    table = table[table["split"] == "train"].drop(columns="split").reset_index(drop=True)
    return table.drop(columns="income"), table["income"].to_numpy()


def digits() -> Dataset:
    """1 vs 7 out of scikit-learn's own digits: for trying a command without any file."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    rows = (y == 1) | (y == 7)
    X, y = X[rows] / 16.0, np.where(y[rows] == 1, 1.0, -1.0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    return Dataset("digits", np.ascontiguousarray(X_train), y_train, np.ascontiguousarray(X_test), y_test)


def subpopulations(data: Dataset, clean_theta, n_clusters=20, n_best=3, label=-1.0, seed=0):
    """The paper's subpopulations: k-means clusters of X_train with one label, the n_best of highest clean accuracy.

    Yields (name, mask of the training rows, mask of the test rows); ties go to the larger one.
    """
    from sklearn.cluster import KMeans

    model = KMeans(n_clusters=n_clusters, random_state=seed, n_init=10).fit(data.X_train)
    train, test = model.labels_, model.predict(data.X_test)
    right = data.y_train * (data.X_train @ clean_theta[:-1] + clean_theta[-1]) > 0
    found = []
    for c in range(n_clusters):
        rows = (train == c) & (data.y_train == label)
        if rows.sum() >= 10:
            found.append((right[rows].mean(), int(rows.sum()), c))
    for accuracy, size, c in sorted(found, reverse=True)[:n_best]:
        name = f"cluster {c}: {size} rows, clean accuracy {accuracy:.3f}"
        yield name, (train == c) & (data.y_train == label), (test == c) & (data.y_test == label)

"""Which reader a file is for."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

from .boosted import read_gblinear
from .liblinear import read_liblinear
from .model import ModelFile
from .onnx_graph import read_onnx
from .pmml import read_pmml
from .skops_file import read_skops
from .spark import read_spark

__all__ = ["read_model"]


def read_model(path: str | os.PathLike) -> ModelFile:
    """A binary linear model from a file, read without running anything that the file holds.

    Parameters
    ----------
    path : str or path
        The kind of a file is told by its content:

        ========================  ==================================================================================
        ONNX                      LinearClassifier, linear SVMClassifier, or MatMul and Add (package ``onnx``)
        LIBLINEAR                 the text that ``save_model`` writes
        PMML                      a RegressionModel with two classes (sklearn2pmml, nyoka, ...)
        Spark ML                  the folder of a LinearSVCModel or a binary LogisticRegressionModel (``pyarrow``)
        XGBoost                   the JSON of a ``gblinear`` booster with a logistic objective
        skops                     a fitted linear classifier of scikit-learn
        ========================  ==================================================================================

    Returns
    -------
    ModelFile
        With ``coef_``, ``intercept_`` and ``classes_``: it can be attacked like any target, and it says how far the
        file's numbers may be from the trainer's own.

    Raises
    ------
    ValueError
        If the file is of none of these kinds, is not whole, or holds another model: the message says what was found.
    ImportError
        If the package that reads it is missing: ``pip install "mtpfast[files]"``.
    OSError
        If there is no such file, or it cannot be read.

    Notes
    -----
    ======================  =====================================================================================
    LIBLINEAR               weights are those of the label named first; the intercept is ``bias`` times the last
    ONNX SVMClassifier      a positive score is ``classes_[0]``; float32 even where the graph's input is double
    PMML                    the class whose table is not zero has the numbers; its fields are matched by name
    Spark ML                the decision threshold is in the metadata only, and becomes ``threshold``
    XGBoost                 the intercept is ``bias + log(p / (1 - p))``, p the ``base_score``
    ======================  =====================================================================================

    Complexity: the size of the file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import mtpfast
    >>> text = "solver_type L2R_LR\\nnr_class 2\\nlabel 1 0\\nnr_feature 2\\nbias 2\\nw\\n0.5 \\n-1.5 \\n0.25 \\n"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "spam.model")
    ...     _ = path.write_text(text)
    ...     model = mtpfast.read_model(path)
    >>> model.coef_.tolist(), model.intercept_.tolist(), model.classes_.tolist()
    ([[0.5, -1.5]], [0.5], [0, 1])
    """
    path = Path(path)
    try:
        if path.is_dir():
            return read_spark(path)
        with open(path, "rb") as file:
            start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith(b"PK"):
            return read_skops(path)
        if start.startswith(b"solver_type"):
            return read_liblinear(path.read_text(encoding="ascii"))
        if start.startswith(b"<"):
            return read_pmml(path.read_text(encoding="utf-8-sig"))
        if start.startswith(b"{"):
            return read_gblinear(json.loads(path.read_text(encoding="utf-8")))
        if start.startswith(b"\x08"):  # the first field of an ONNX model is its version
            return read_onnx(path)
        raise ValueError("its first bytes are those of no known kind")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, zipfile.BadZipFile) as error:
        what = f"{error}" if isinstance(error, (ValueError, zipfile.BadZipFile)) else f"{type(error).__name__} {error}"
        raise ValueError(
            f"path must name a binary linear model, whole, in a file of ONNX, LIBLINEAR, PMML, XGBoost (JSON) or "
            f"skops, or a folder of Spark ML; {str(path)!r}: {what}"
        ) from None

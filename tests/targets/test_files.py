"""Models in files of other packages: what ``data/models/make.py`` wrote with them, and what their own readers say.

Whatever format a model comes in, the label that ``read_model`` gives a row is the one that the writer's reader gives.
"""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import mtpfast
from mtpfast import FeatureSpace, MinimumPoisoner, minimum_poisoning, read_model
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit

MODELS = Path(__file__).parent.parent / "data" / "models"
EXPECTED = json.loads((MODELS / "expected.json").read_text())
ROWS = np.array(EXPECTED["rows"])
READ = {name: entry for name, entry in EXPECTED["models"].items() if name != "sklearn2pmml_svc.pmml"}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_the_model_that_was_written(name):
    """Coefficients and intercept of classes_[1] to the precision that the file has, which is what ``rounding`` says."""
    expected, model = READ[name], read_model(MODELS / name)
    theta = np.append(expected["coef"], expected["intercept"])
    own = np.append(model.coef_, model.intercept_)
    # XGBoost and LIBLINEAR are asked through scores: those of XGBoost are float32, all others have seventeen digits.
    asked = {"xgboost": 4e-7, "libline": 1e-15}.get(name[:7], 0.0) * np.sum(np.abs(theta))
    assert np.all(np.abs(own - theta) <= model.rounding + asked + 1e-15 * np.abs(theta))
    assert model.classes_.tolist() == expected["classes"]


@pytest.mark.parametrize("name", READ)
def test_labels_are_those_of_the_writers_own_reader(name):
    """Both labels occur, so a model of the wrong sign or class fails."""
    model, labels = read_model(MODELS / name), READ[name]["labels"]
    assert len(set(labels)) == 2
    assert model.predict(ROWS).tolist() == labels
    turned = dataclasses.replace(model, coef_=-model.coef_, intercept_=-model.intercept_, threshold=-model.threshold)
    assert turned.predict(ROWS).tolist() != labels


@pytest.mark.parametrize("name", READ)
def test_rounding_says_which_precision_was_read(name):
    """Nothing is lost where 17 digits are written; half a unit of float32 where that is what the file holds."""
    model = read_model(MODELS / name)
    size = np.abs(np.append(model.coef_, model.intercept_))
    single = "_float" in name or "onnx_svc" in name or "xgboost" in name  # an SVMClassifier has no double precision
    if single:
        assert np.all(model.rounding[:-1] >= 2.0**-24 * size[:-1])
        assert np.all(model.rounding <= 2.0**-24 * 60 * (size + 1))
    elif name == "skops_svc.skops":  # its coefficients are a product of what is in the file, a sum over support vectors
        assert 0.0 < np.max(model.rounding) <= 1e-12
    else:
        assert_array_equal(model.rounding, 0.5e-16 if "nyoka" in name else 0.0)
    assert ("float32" in model.written_as) == single


def test_a_float32_file_widens_the_margin_and_the_result_says_so():
    """Rows on the margin of a hinge victim are off that of its float32 copy, by no more than half of ``margin_tol``.

    The points are planted: the true minimum is at most their number, and the bound for the file must not exceed it.
    """
    rng = np.random.default_rng(3)
    X = 1900 + np.round(rng.uniform(0, 100, (60, 4)), 1)  # such as years
    y = np.where((X - 1900) @ [1.0, -0.5, 0.3, 0.1] + rng.normal(0, 15, 60) > 45, 1.0, -1.0)
    planted = np.tile([[2000.0, 1900.0, 1900.0, 1900.0]], (6, 1))
    objective = make_objective("hinge", C=0.01)
    theta = refit(np.vstack([X, planted]), np.append(y, -np.ones(6)), objective).theta
    single = theta.astype(np.float32).astype(float)
    kept = mtpfast.targets.ModelFile(
        single[None, :-1], single[-1:], np.array([-1.0, 1.0]), "float32", 2.0**-24 * np.abs(single)
    )
    space = FeatureSpace(1900.0, 2000.0)
    result = minimum_poisoning(X, y, kept, C=0.01, feasible_set=space)
    assert result.lower_bound <= 6
    width = 2 * float(kept.rounding @ np.append(np.maximum(X.max(axis=0), 2000.0), 1.0))
    assert result.goal.margin_tol == pytest.approx(width, rel=1e-12)
    assert width > 1e-6
    on_the_margin = np.abs(y * (X @ theta[:-1] + theta[-1]) - 1) < 1e-9
    assert np.any(on_the_margin)
    off = np.abs(y * (X @ single[:-1] + single[-1]) - 1)[on_the_margin]
    assert np.all(off <= width / 2 * (1 + 1e-9))  # what the width is for
    again = MinimumPoisoner(C=0.01, feasible_set=space).fit(X, y).attack(kept)
    assert again.goal.margin_tol == result.goal.margin_tol
    assert again.lower_bound == result.lower_bound
    given = MinimumPoisoner(C=0.01, feasible_set=space, margin_tol=1e-5).fit(X, y).attack(kept)
    assert given.goal.margin_tol == 1e-5


def test_labels_and_columns_of_a_file_are_compared_with_the_victims():
    model = read_model(MODELS / "sklearn2pmml_linear_svc.pmml")
    assert model.feature_names_in_.tolist() == ["age", "hours", "gain", "loss"]
    y = np.arange(24) % 2
    with pytest.raises(ValueError, match=r"labels \[0, 1\], the victim with \[3, 4\]"):
        MinimumPoisoner().fit(ROWS, y + 3).attack(model)
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=["hours", "age", "gain", "loss"])
    with pytest.raises(ValueError, match="'age' where the victim has 'hours'"):
        MinimumPoisoner().fit(frame, y).attack(model)


def test_the_tolerance_of_a_skops_file_is_read():
    assert read_model(MODELS / "skops_linear_svc.skops").tol == 1e-10
    assert read_model(MODELS / "skops_svc.skops").tol == 1e-3


@pytest.mark.parametrize(
    "name, old, new, message",
    [
        ("liblinear_01.model", "nr_class 2", "nr_class 3", "nr_class 3, expected 2"),
        ("liblinear_01.model", "L2R_L1LOSS_SVC_DUAL", "MCSVM_CS", "solver_type MCSVM_CS, expected one for two"),
        ("liblinear_01.model", "nr_feature 4", "nr_feature 5", "5 weights, expected 6: nr_feature 5, bias 1"),
        ("liblinear_01.model", "label 1 0", "label 1 1", "two labels that are the same"),
        ("liblinear_01.model", "0.8", "nan 0.8", "6 weights, expected 5"),
        ("liblinear_01.model", "\nw\n", "\n", "no line 'w'"),
        ("xgboost_auto.json", '"gblinear"', '"gbtree"', "booster 'gbtree', expected 'gblinear'"),
        ("xgboost_auto.json", "binary:logistic", "reg:squarederror", "objective 'reg:squarederror', expected one of"),
        ("xgboost_auto.json", '"num_feature":"4"', '"num_feature":"5"', "5 weights, expected 6"),
        ("xgboost_auto.json", "[4.5E-1]", "[0E0]", "base_score 0, expected a probability"),
        ("xgboost_auto.json", '"learner"', '"teacher"', "KeyError 'learner'"),
        ("sklearn2pmml_linear_svc.pmml", "classification", "regression", "functionName 'regression'"),
        ("sklearn2pmml_linear_svc.pmml", "<Header>", "<Header>&big;", "no XML"),
        ("sklearn2pmml_linear_svc.pmml", "<PMML", '<!DOCTYPE x [<!ENTITY big "big">]><PMML', "document type"),
        ("sklearn2pmml_linear_svc.pmml", 'intercept="0.0"', 'intercept="0.5"', "two RegressionTables that are not"),
        ("sklearn2pmml_linear_svc.pmml", 'name="age" coef', 'name="agee" coef', "a term NumericPredictor of 'agee'"),
        ("nyoka_sgd.pmml", 'name="age" exponent="1"', 'name="age" exponent="2"', "a term NumericPredictor of 'age'"),
        ("sklearn2pmml_svc.pmml", "", "", "holds SupportVectorMachineModel, expected one RegressionModel"),
    ],
)
def test_what_is_no_such_model_is_refused_by_name(tmp_path, name, old, new, message):
    path = tmp_path / name
    text = (MODELS / name).read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match="path must name a binary linear model") as error:
        read_model(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04\x95pickle", b"PK\x03\x04 no zip", b"\x08\x01 no graph", b"{}", b"<"]
)
def test_files_of_no_kind_are_refused(tmp_path, content):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ValueError, match="path must name a binary linear model"):
        read_model(tmp_path / "model")


def test_a_file_that_is_missing_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_model(tmp_path / "none")


def test_a_skops_file_runs_nothing(tmp_path):
    """Its tree names classes and functions: none is looked for, so one that does not exist is read like any other."""
    path = tmp_path / "m.skops"
    with zipfile.ZipFile(MODELS / "skops_linear_svc.skops") as source, zipfile.ZipFile(path, "w") as copy:
        for item in source.namelist():
            copy.writestr(item, source.read(item).replace(b"sklearn.svm._classes", b"no_such_module"))
    assert read_model(path).coef_.tolist() == read_model(MODELS / "skops_linear_svc.skops").coef_.tolist()

"""Trainers of other packages: how they are called, how tightly they go, and what is refused.

A case is trained twice on breast_cancer, scaled to [0, 1] (569 x 30): as its defaults stop, and as tightly as it
goes. ``near`` is how far (l2, in models of norm 5 to 16) its tight solution may be from our victim.
"""

import importlib
import importlib.util
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer

from mtpfast.preprocessing.penalty import penalty_of


def table():
    X, y = load_breast_cancer(return_X_y=True)
    return (X - X.min(axis=0)) / (X.max(axis=0) - X.min(axis=0)), y


@dataclass(frozen=True)
class Case:
    name: str
    package: str  # the module
    distribution: str
    objective: str
    make: object  # (tight) -> (what from_estimator takes, its other parameters, fit(X, y) -> what a target may be)
    near: float
    refused: dict = field(default_factory=dict)  # what -> (make, words of the message)

    @property
    def version(self):
        return version(self.distribution)

    def is_there(self):
        return importlib.util.find_spec(self.package) is not None


def scale_of(attacker):
    """What the trainer's features are divided by in those of the attack, where that is how its penalty is read."""
    scaler = penalty_of(attacker.preprocessing_)[1]
    return np.ones(attacker.coef_.shape[1]) if scaler is None else scaler.scale_


def theta_of(attacker):
    """``(w, b)`` of the attacker's victim in the trainer's features."""
    return np.append(attacker.coef_[0] / scale_of(attacker), attacker.intercept_)


def sklearn_like(build, default, tight, **more):
    """A class of an estimator with fit(X, y), with parameters for its default stop and for a tight one."""

    def make(is_tight):
        estimator = build()(**more, **(tight if is_tight else default))
        return estimator, {}, lambda X, y: clone(estimator).fit(X, y)

    return make


def of(module, name):
    return lambda: getattr(importlib.import_module(module), name)


def refusing(build, message, **params):
    return (lambda: (build()(**params), {}), message)


def statsmodels_case(constant=True, **fit):
    def make(is_tight):
        import statsmodels.api as sm

        def exog(X):
            return sm.add_constant(X) if constant else X

        def train(X, y):
            model = sm.GLM(y, exog(X), family=sm.families.Binomial())
            return model.fit_regularized(alpha=0.01, L1_wt=0)  # it hands no tolerance on

        X, y = table()
        return sm.GLM(y, exog(X), family=sm.families.Binomial()), {"alpha": 0.01}, train

    return make


def liblinear_case(solver, bias):
    def make(is_tight):
        from liblinear.liblinearutil import parameter, train

        options = f"-s {solver} -c 1 -B {bias} -q" + (" -e 1e-10" if is_tight else "")
        return parameter(options), {}, lambda X, y: train(y.tolist(), X.tolist(), options)

    return make


LINEAR_SVC, LOGISTIC = of("sklearn.svm", "LinearSVC"), of("sklearn.linear_model", "LogisticRegression")
SNAP_SVM, SNAP_LOG = of("snapml", "SupportVectorMachine"), of("snapml", "LogisticRegression")
GLUM, XGB = of("glum", "GeneralizedLinearRegressor"), of("xgboost", "XGBClassifier")
GLUM_L2 = {"family": "binomial", "alpha": 0.01, "l1_ratio": 0}


def spark_case(name, **params):
    def make(is_tight):
        from pyspark.ml import classification
        from pyspark.ml.linalg import Vectors
        from pyspark.sql import SparkSession

        session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        trainer = getattr(classification, name)(**params, **({"tol": 1e-12, "maxIter": 300} if is_tight else {}))

        def train(X, y):
            rows = [(float(label), Vectors.dense(row)) for row, label in zip(X.tolist(), y, strict=True)]
            return trainer.fit(session.createDataFrame(rows, ["label", "features"]))

        return trainer, {}, train

    return make


def spark_default(name):
    def make():
        from pyspark.ml import classification
        from pyspark.sql import SparkSession

        SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
        return getattr(classification, name)(), {}

    return make


def statsmodels_without_alpha():
    import statsmodels.api as sm

    X, y = table()
    return sm.GLM(y, X, family=sm.families.Binomial()), {}


def statsmodels_gaussian():
    import statsmodels.api as sm

    X, y = table()
    return sm.GLM(y, X), {"alpha": 0.1}


def liblinear_l1():
    from liblinear.liblinearutil import parameter

    return parameter("-s 5 -c 1"), {}


def liblinear_bias():
    from liblinear.liblinearutil import parameter

    return parameter("-s 3 -c 1 -B 0"), {}


CASES = [
    Case(
        "scikit-learn LinearSVC(loss='hinge')",
        "sklearn",
        "scikit-learn",
        "hinge, 1/C, intercept penalised",
        sklearn_like(LINEAR_SVC, {}, {"tol": 1e-10, "max_iter": 10**6}, loss="hinge", random_state=0),
        1e-5,
        {"penalty": refusing(LINEAR_SVC, "penalty='l1'", penalty="l1")},
    ),
    Case(
        "scikit-learn LinearSVC(loss='hinge', intercept_scaling=10)",
        "sklearn",
        "scikit-learn",
        "hinge, 1/C, the intercept's penalty weight 1/100",
        sklearn_like(
            LINEAR_SVC, {}, {"tol": 1e-9, "max_iter": 10**6}, loss="hinge", random_state=0, intercept_scaling=10
        ),
        1e-4,
        {"intercept_scaling": refusing(LINEAR_SVC, "intercept_scaling=0", intercept_scaling=0)},
    ),
    Case(
        "scikit-learn LinearSVC()",
        "sklearn",
        "scikit-learn",
        "squared hinge, 1/C, intercept penalised",
        sklearn_like(LINEAR_SVC, {}, {"tol": 1e-10, "max_iter": 10**6}),
        1e-5,
        {"penalty": refusing(LINEAR_SVC, "penalty='l1'", penalty="l1", dual=False)},
    ),
    Case(
        "scikit-learn LogisticRegression()",
        "sklearn",
        "scikit-learn",
        "log, 1/C, intercept free",
        sklearn_like(LOGISTIC, {}, {"tol": 1e-12, "solver": "newton-cholesky"}),
        1e-6,
        {"l1_ratio": refusing(LOGISTIC, "l1_ratio=0.5", l1_ratio=0.5, solver="saga")},
    ),
    Case(
        "scikit-learn LogisticRegression(solver='liblinear')",
        "sklearn",
        "scikit-learn",
        "log, 1/C, intercept penalised",
        sklearn_like(LOGISTIC, {}, {"tol": 1e-10, "max_iter": 10**5}, solver="liblinear"),
        1e-5,
        {"penalty": refusing(LOGISTIC, "l1_ratio=1", solver="liblinear", l1_ratio=1)},
    ),
    Case(
        "scikit-learn LogisticRegression(solver='liblinear', intercept_scaling=2)",
        "sklearn",
        "scikit-learn",
        "log, 1/C, the intercept's penalty weight 1/4",
        sklearn_like(LOGISTIC, {}, {"tol": 1e-10, "max_iter": 10**5}, solver="liblinear", intercept_scaling=2),
        1e-5,
    ),
    Case(
        "scikit-learn SVC(kernel='linear')",
        "sklearn",
        "scikit-learn",
        "hinge, 1/C, intercept free",
        sklearn_like(of("sklearn.svm", "SVC"), {}, {"tol": 1e-9}, kernel="linear"),
        1e-5,
        {"kernel": refusing(of("sklearn.svm", "SVC"), "kernel='rbf'")},
    ),
    Case(
        "scikit-learn SGDClassifier(alpha=0.01)",
        "sklearn",
        "scikit-learn",
        "hinge, alpha * rows, intercept free",
        sklearn_like(
            of("sklearn.linear_model", "SGDClassifier"),
            {},
            {"tol": None, "max_iter": 20_000},
            alpha=0.01,
            random_state=0,
        ),
        2e-2,
        {"loss": refusing(of("sklearn.linear_model", "SGDClassifier"), "loss='huber'", loss="huber")},
    ),
    Case(
        "scikit-learn-intelex LogisticRegression()",
        "sklearnex",
        "scikit-learn-intelex",
        "log, 1/C, intercept free",
        sklearn_like(of("sklearnex.linear_model", "LogisticRegression"), {}, {"tol": 1e-12, "max_iter": 10_000}),
        1e-5,
        {
            "penalty": refusing(
                of("sklearnex.linear_model", "LogisticRegression"), "l1_ratio=0.5", l1_ratio=0.5, solver="saga"
            )
        },
    ),
    Case(
        "snapml SupportVectorMachine()",
        "snapml",
        "snapml",
        "hinge, regularizer, no intercept",
        sklearn_like(SNAP_SVM, {}, {"tol": 1e-8, "max_iter": 100_000}, regularizer=1.0),
        2e-2,
        {
            "kernel": refusing(SNAP_SVM, "kernel='rbf'", kernel="rbf"),
            "class_weight": refusing(SNAP_SVM, "class_weight='balanced'", class_weight="balanced"),
        },
    ),
    Case(
        "snapml LogisticRegression()",
        "snapml",
        "snapml",
        "log, regularizer, no intercept",
        sklearn_like(SNAP_LOG, {}, {"tol": 1e-8, "max_iter": 100_000}),
        1e-4,
        {"penalty": refusing(SNAP_LOG, "penalty='l1'", penalty="l1", dual=False)},
    ),
    Case(
        "snapml LogisticRegression(fit_intercept=True)",
        "snapml",
        "snapml",
        "log, regularizer, intercept penalised",
        sklearn_like(SNAP_LOG, {}, {"tol": 1e-8, "max_iter": 100_000}, fit_intercept=True),
        1e-3,
        {"privacy": refusing(SNAP_LOG, "privacy=True", privacy=True, dual=False)},
    ),
    Case(
        "snapml LogisticRegression(fit_intercept=True, intercept_scaling=3.0)",
        "snapml",
        "snapml",
        "log, regularizer, the intercept's penalty weight 1/9",
        sklearn_like(SNAP_LOG, {}, {"tol": 1e-8, "max_iter": 100_000}, fit_intercept=True, intercept_scaling=3.0),
        1e-3,
    ),
    Case(
        "skglm LinearSVC()",
        "skglm",
        "skglm",
        "hinge, 1/C, no intercept, whatever fit_intercept says",
        sklearn_like(of("skglm", "LinearSVC"), {}, {"tol": 1e-10, "max_iter": 1000}),
        1e-5,
    ),
    Case(
        "glum GeneralizedLinearRegressor(family='binomial', alpha=0.01, l1_ratio=0)",
        "glum",
        "glum",
        "log, alpha * sum of weights, intercept free",
        sklearn_like(GLUM, {}, {"gradient_tol": 1e-12, "max_iter": 1000}, **GLUM_L2),
        1e-6,
        {
            "alpha": refusing(GLUM, "alpha=None", family="binomial", l1_ratio=0),
            "l1_ratio": refusing(GLUM, "l1_ratio=0.5", family="binomial", alpha=0.1, l1_ratio=0.5),
            "family": refusing(GLUM, "family='normal'", alpha=0.1, l1_ratio=0, family="normal"),
            "P2": refusing(GLUM, "P2=", **GLUM_L2, P2=np.eye(30)),
            "lower_bounds": refusing(GLUM, "lower_bounds=", **GLUM_L2, lower_bounds=np.zeros(30)),
        },
    ),
    Case(
        "glum GeneralizedLinearRegressor(..., scale_predictors=True)",
        "glum",
        "glum",
        "log, alpha * sum of weights, penalty weights: variances; intercept free",
        sklearn_like(GLUM, {}, {"gradient_tol": 1e-12, "max_iter": 1000}, **GLUM_L2, scale_predictors=True),
        1e-5,
    ),
    Case(
        "glum GeneralizedLinearRegressor(..., P2=[0.5, ..., 3])",
        "glum",
        "glum",
        "log, alpha * sum of weights, penalty weights P2, intercept free",
        sklearn_like(GLUM, {}, {"gradient_tol": 1e-12, "max_iter": 1000}, **GLUM_L2, P2=np.linspace(0.5, 3.0, 30)),
        1e-6,
        {"scale_predictors": refusing(GLUM, "scale_predictors", **GLUM_L2, P2=np.ones(30), scale_predictors=True)},
    ),
    Case(
        "statsmodels GLM(Binomial).fit_regularized(alpha=0.01, L1_wt=0)",
        "statsmodels",
        "statsmodels",
        "log, alpha * rows, the constant column penalised",
        statsmodels_case(),
        5e-3,
        {"alpha": (statsmodels_without_alpha, "alpha=..."), "family": (statsmodels_gaussian, "family='Gaussian'")},
    ),
    Case(
        "statsmodels GLM(Binomial) without a constant",
        "statsmodels",
        "statsmodels",
        "log, alpha * rows, no intercept",
        statsmodels_case(constant=False),
        5e-3,
    ),
    Case(
        "liblinear-official -s 3 -B 1",
        "liblinear",
        "liblinear-official",
        "hinge, 1/C, intercept penalised",
        liblinear_case(3, 1),
        2e-2,
        {"solver_type": (liblinear_l1, "solver_type=5"), "bias": (liblinear_bias, "bias=0.0")},
    ),
    Case(
        "liblinear-official -s 0 -B 10",
        "liblinear",
        "liblinear-official",
        "log, 1/C, the intercept's penalty weight 1/100",
        liblinear_case(0, 10),
        1e-4,
    ),
    Case(
        "liblinear-official -s 2",
        "liblinear",
        "liblinear-official",
        "squared hinge, 1/C, no intercept",
        liblinear_case(2, -1),
        1e-5,
    ),
    Case(
        "liblinear-official -s 0 -B 1",
        "liblinear",
        "liblinear-official",
        "log, 1/C, intercept penalised",
        liblinear_case(0, 1),
        1e-5,
    ),
    Case(
        "pyspark LogisticRegression(regParam=0.01, standardization=False)",
        "pyspark",
        "pyspark",
        "log, regParam * sum of weights, intercept free",
        spark_case("LogisticRegression", regParam=0.01, standardization=False),
        1e-4,
        {"regParam": (spark_default("LogisticRegression"), "regParam=0.0")},
    ),
    Case(
        "pyspark LogisticRegression(regParam=0.01)",
        "pyspark",
        "pyspark",
        "log, regParam * sum of weights, penalty weights: variances (ddof 1); intercept free",
        spark_case("LogisticRegression", regParam=0.01),
        1e-4,
    ),
    Case(
        "xgboost XGBClassifier(booster='gblinear', reg_lambda=0.01)",
        "xgboost",
        "xgboost",
        "log, reg_lambda * sum of weights, intercept free",
        sklearn_like(XGB, {}, {"n_estimators": 3000, "updater": "coord_descent"}, booster="gblinear", reg_lambda=0.01),
        1e-4,
        {
            "booster": refusing(XGB, "booster=None"),
            "reg_alpha": refusing(XGB, "reg_alpha=1", booster="gblinear", reg_lambda=1, reg_alpha=1),
            "reg_lambda": refusing(XGB, "reg_lambda=0", booster="gblinear", reg_lambda=0),
        },
    ),
]

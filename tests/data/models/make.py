"""Write the model files beside this script with the packages that they are named after, and what their readers say.

    python make.py liblinear onnx skops xgboost      # liblinear-official 2.50.0, skl2onnx 1.20.0, skops 0.16.0, ...
    python make.py pmml nyoka                        # sklearn2pmml 0.133.1 with scikit-learn 1.9.0, nyoka 5.6.0
    python make.py spark                             # pyspark 4.3.0 with Java 17

Every entry of expected.json holds the model that was trained, in full precision, and the labels that the writer's own
reader gives to the rows: nothing in it comes from mtpfast.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def data():
    rng = np.random.default_rng(17)
    X = np.round(rng.uniform(0, 3, (80, 4)), 2)
    y = (X @ [1.0, -0.8, 0.5, 0.1] + rng.normal(0, 0.8, 80) > 1.2).astype(int)
    first = int(np.argmax(y))  # the first row is positive, the last is not
    order = np.r_[first, np.delete(np.arange(80), [first, np.argmin(y)]), np.argmin(y)]
    return X[order], y[order]


X, Y = data()
ROWS = X[:24]


def note(name, command, coef, intercept, classes, labels, packages):
    """Add an entry: decision values and labels are of the rows, the model is of classes[1]."""
    path = HERE / "expected.json"
    known = json.loads(path.read_text()) if path.exists() else {"rows": ROWS.tolist(), "models": {}}
    plain = np.asarray(classes).tolist()
    labels = [label.item() if hasattr(label, "item") else label for label in labels]
    assert set(labels) == set(plain), (name, labels, plain)
    known["models"][name] = {
        "command": command,
        "versions": {package: version(package) for package in packages},
        "coef": np.ravel(coef).astype(float).tolist(),
        "intercept": float(np.ravel(intercept)[0]),
        "classes": plain,
        "labels": labels,
    }
    models = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(known["models"].items()))
    path.write_text(f'{{\n"rows": {json.dumps(known["rows"])},\n"models": {{\n{models}\n}}\n}}\n')


def sklearn_models():
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.svm import SVC, LinearSVC

    text = np.where(Y == 1, "spam", "ham")
    return {
        "linear_svc": LinearSVC(C=0.7, tol=1e-10).fit(X, Y),
        "logistic_text": LogisticRegression(C=2.0, tol=1e-10).fit(X, text),
        "svc": SVC(kernel="linear", C=0.5).fit(X, Y + 3),
        "svc_text": SVC(kernel="linear", C=0.5).fit(X, text),
        "sgd": SGDClassifier(random_state=0, alpha=0.01).fit(X, Y),
        "sgd_text": SGDClassifier(random_state=0, alpha=0.01, loss="log_loss").fit(X, text),
    }


def onnx():
    import onnxruntime
    from skl2onnx import to_onnx

    for name, model in sklearn_models().items():
        for precision in (np.float32, np.float64):
            kind = "float" if precision is np.float32 else "double"
            path = HERE / f"onnx_{name}_{kind}.onnx"
            if path.name == "onnx_linear_svc_double.onnx":
                continue  # the writers raise for a LinearSVC of double precision: there is no such file
            options = None if name == "linear_svc" else {id(model): {"zipmap": False}}
            graph = to_onnx(model, X[:1].astype(precision), options=options)
            path.write_bytes(graph.SerializeToString())
            session = onnxruntime.InferenceSession(str(path))
            labels = session.run(None, {session.get_inputs()[0].name: ROWS.astype(precision)})[0]
            packages = ["skl2onnx", "onnx", "onnxruntime", "scikit-learn"]
            command = f"skl2onnx.to_onnx({type(model).__name__})"
            note(path.name, command, model.coef_, model.intercept_, model.classes_, labels, packages)


def liblinear():
    from liblinear.liblinearutil import predict, save_model, train

    for name, y, options in [
        ("01", Y, "-s 3 -c 0.5 -B 1"),
        ("10", Y[::-1], "-s 0 -c 0.5 -B 1"),
        ("plus_minus", 2 * Y - 1, "-s 2 -c 0.5"),
        ("bias", Y + 1, "-s 7 -c 0.5 -B 10"),
    ]:
        rows = X[::-1] if name == "10" else X
        model = train(y.tolist(), rows.tolist(), options + " -q")
        path = HERE / f"liblinear_{name}.model"
        save_model(str(path), model)
        labels, _, values = predict([], ROWS.tolist(), model, "-q")
        # The package's own decision values, of the label that it names first, at the unit vectors.
        probes = np.vstack([np.zeros(4), np.eye(4)])
        values = np.ravel(predict([], probes.tolist(), model, "-q")[2])
        sign = 1 if model.get_labels()[0] == max(model.get_labels()) else -1
        note(
            path.name,
            f"liblinear.train({options!r})",
            sign * (values[1:] - values[0]),
            sign * values[0],
            sorted(set(y.tolist())),
            [int(label) for label in labels],
            ["liblinear-official"],
        )


def skops():
    import skops.io

    for name in ("linear_svc", "logistic_text", "sgd", "svc"):
        model = sklearn_models()[name]
        path = HERE / f"skops_{name}.skops"
        skops.io.dump(model, path)
        again = skops.io.load(path)
        note(
            path.name,
            f"skops.io.dump({type(model).__name__})",
            again.coef_,
            again.intercept_,
            again.classes_,
            again.predict(ROWS),
            ["skops", "scikit-learn"],
        )


def xgboost():
    from xgboost import Booster, DMatrix, XGBClassifier

    for name, options in [
        ("auto", {}),
        ("half", {"base_score": 0.5}),
        ("raw", {"objective": "binary:logitraw", "base_score": 0.3}),
    ]:
        fixed = {"booster": "gblinear", "n_estimators": 300, "reg_lambda": 0.02, "updater": "coord_descent"}
        model = XGBClassifier(**fixed, **options).fit(X, Y)
        path = HERE / f"xgboost_{name}.json"
        model.save_model(path)
        rows = DMatrix(np.vstack([ROWS, np.zeros(4), np.eye(4)]))
        margins = Booster(model_file=path).predict(rows, output_margin=True).astype(float)
        labels = (margins[:24] > 0).astype(int)
        command = f"XGBClassifier(booster='gblinear', {options})"
        note(path.name, command, margins[-4:] - margins[-5], margins[-5], [0, 1], labels, ["xgboost"])


def pmml():
    """The package writes and does not read: the labels are those of the estimator that was written."""
    import pandas as pd
    from sklearn2pmml import make_pmml_pipeline, sklearn2pmml

    for name in ("linear_svc", "logistic_text", "svc", "sgd_text"):
        model = sklearn_models()[name]
        path = HERE / f"sklearn2pmml_{name}.pmml"
        frame = pd.DataFrame(X, columns=["age", "hours", "gain", "loss"])
        pipeline = make_pmml_pipeline(type(model)(**model.get_params()).fit(frame, model.classes_[Y]))
        sklearn2pmml(pipeline, str(path), with_repr=False)
        note(
            path.name,
            f"sklearn2pmml({type(model).__name__})",
            model.coef_,
            model.intercept_,
            model.classes_,
            model.predict(ROWS),
            ["sklearn2pmml", "scikit-learn"],
        )


def nyoka():
    from nyoka import skl_to_pmml
    from sklearn.pipeline import Pipeline

    for name in ("linear_svc", "logistic_text", "sgd"):
        model = sklearn_models()[name]
        path = HERE / f"nyoka_{name}.pmml"
        skl_to_pmml(Pipeline([("model", model)]), ["age", "hours", "gain", "loss"], "label", str(path))
        note(
            path.name,
            f"skl_to_pmml({type(model).__name__})",
            model.coef_,
            model.intercept_,
            model.classes_,
            model.predict(ROWS),
            ["nyoka", "scikit-learn"],
        )


def spark():
    import shutil

    from pyspark.ml.classification import LinearSVC, LogisticRegression
    from pyspark.ml.linalg import Vectors
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")

    def frame(rows, labels):
        return session.createDataFrame(
            [(float(label), Vectors.dense(row)) for row, label in zip(rows.tolist(), labels, strict=True)],
            ["label", "features"],
        )

    for name, trainer in [
        ("svc", LinearSVC(regParam=0.05, maxIter=3)),
        ("svc_threshold", LinearSVC(regParam=0.05, maxIter=3, threshold=0.4)),
        ("logistic", LogisticRegression(regParam=0.05, maxIter=3)),
        ("logistic_threshold", LogisticRegression(regParam=0.05, maxIter=3, threshold=0.7)),
        ("logistic_multinomial", LogisticRegression(regParam=0.05, maxIter=3, family="multinomial")),
        ("logistic_sparse", LogisticRegression(regParam=0.1, maxIter=3, elasticNetParam=1.0)),
    ]:
        model = trainer.fit(frame(X, Y))
        path = HERE / f"spark_{name}"
        shutil.rmtree(path, ignore_errors=True)
        model.write().overwrite().save(str(path))
        for extra in [*path.rglob(".*.crc"), *path.rglob("_SUCCESS")]:
            extra.unlink()
        again = type(model).load(str(path))
        labels = [row["prediction"] for row in again.transform(frame(ROWS, np.zeros(24))).collect()]
        if name == "logistic_multinomial":
            coef = model.coefficientMatrix.toArray()
            coef, intercept = coef[1] - coef[0], model.interceptVector[1] - model.interceptVector[0]
        else:
            coef, intercept = model.coefficients.toArray(), model.intercept
        note(path.name, f"{type(trainer).__name__} ({name})", coef, intercept, [0.0, 1.0], labels, ["pyspark"])


if __name__ == "__main__":
    for part in sys.argv[1:]:
        globals()[part]()

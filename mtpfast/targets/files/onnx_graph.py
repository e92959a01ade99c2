"""Linear classifiers as ONNX graphs, as skl2onnx writes them."""

from __future__ import annotations

import numpy as np

from .model import FLOAT32, model_of, oriented

__all__ = ["read_onnx"]


# What may stand between a linear model's scores and its outputs: it changes no score's sign.
AFTER = {
    "Abs", "ArgMax", "ArrayFeatureExtractor", "Cast", "Concat", "Div", "Identity", "Mul", "Normalizer", "ReduceSum",
    "Reshape", "Sigmoid", "Sub", "ZipMap",
}  # fmt: skip


def read_onnx(path):
    """The model of an ONNX file: one LinearClassifier, one linear SVMClassifier, or MatMul and Add.

    =================  ============================================================================================
    LinearClassifier   two rows of coefficients, float32, the first of them for ``classes_[0]``: the second is read
    SVMClassifier      support vectors and their coefficients, float32; a positive score is ``classes_[0]``
    MatMul, Add        one column, of ``classes_[1]``; or two, of which the second is read. float32 or double
    =================  ============================================================================================
    """
    try:
        import onnx
    except ImportError:
        raise ImportError('ONNX files are read with the package onnx: pip install "mtpfast[files]"') from None
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's errors are no part of its interface
        raise ValueError(f"no ONNX model: {error}") from None
    nodes = {}
    for node in graph.node:
        nodes.setdefault(node.op_type, []).append(node)
    reader = next((READERS[name] for name in READERS if name in nodes), None)
    if reader is None:
        raise ValueError(f"operators {', '.join(nodes)}, expected LinearClassifier, SVMClassifier, or MatMul and Add")
    core, model = reader(onnx, graph, nodes)
    tensors = {each.name for each in graph.initializer}
    fed = {each.name for each in graph.input} - tensors
    fed |= {node.output[0] for node in nodes.get("Cast", ()) if node.input[0] in fed}
    others = {name for name in nodes if name not in AFTER} - set(core)
    if others or nodes[core[0]][0].input[0] not in fed:
        odd = ", ".join(sorted(others)) or "something"
        raise ValueError(
            f"{odd} beside {' and '.join(core)}: the model is not one of the graph's input. Convert the last step of "
            f"the pipeline alone, and attack the table as the steps before it transform it"
        )
    return model


def _attributes(onnx, node):
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def _labels(attributes):
    text = attributes.get("classlabels_strings")
    labels = [label.decode() for label in text] if text else list(attributes.get("classlabels_ints", ()))
    if len(labels) != 2:
        raise ValueError(f"{len(labels)} class labels, expected 2")
    return labels


def _linear_classifier(onnx, graph, nodes):
    attributes = _attributes(onnx, _only(nodes, "LinearClassifier"))
    negative, positive = _labels(attributes)
    rows = np.array(attributes["coefficients"], dtype=np.float32).reshape(2, -1)
    both = np.column_stack([rows, np.array(attributes.get("intercepts", (0, 0)), dtype=np.float32)])
    theta = _second_of(both.astype(float))
    theta, classes = oriented(theta, positive, negative)
    written_as = "ONNX LinearClassifier, float32"
    return ["LinearClassifier"], model_of(theta[:-1], theta[-1], classes, written_as, FLOAT32 * np.abs(theta))


def _svm_classifier(onnx, graph, nodes):
    attributes = _attributes(onnx, _only(nodes, "SVMClassifier"))
    kernel = attributes.get("kernel_type", b"LINEAR").decode()
    if kernel != "LINEAR":
        raise ValueError(f"SVMClassifier with kernel_type {kernel}, expected LINEAR")
    positive, negative = _labels(attributes)  # a positive score is the first label
    pulls = np.array(attributes["coefficients"], dtype=np.float32).astype(float)
    vectors = np.array(attributes["support_vectors"], dtype=np.float32).astype(float).reshape(len(pulls), -1)
    rho = float(np.float32(attributes["rho"][0]))
    theta, classes = oriented(np.append(pulls @ vectors, rho), positive, negative)
    # Both factors of each term are rounded.
    rounding = FLOAT32 * np.append(2.0 * np.abs(pulls) @ np.abs(vectors), abs(rho))
    written_as = f"ONNX SVMClassifier, {len(pulls)} support vectors in float32"
    return ["SVMClassifier"], model_of(theta[:-1], theta[-1], classes, written_as, rounding)


def _product(onnx, graph, nodes):
    tensors = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    product, total = _only(nodes, "MatMul"), _only(nodes, "Add")
    coef, intercept = tensors.get(product.input[1]), [tensors[name] for name in total.input if name in tensors]
    if coef is None or len(intercept) != 1 or product.output[0] not in total.input:
        raise ValueError("MatMul and Add that are no linear model: X @ coef + intercept is expected")
    classes = next((tensors[n.input[0]] for n in nodes.get("ArrayFeatureExtractor", ()) if n.input[0] in tensors), None)
    if classes is None or classes.size != 2:
        raise ValueError("no tensor of two class labels")
    labels = [label.decode() if isinstance(label, bytes) else label for label in classes.ravel().tolist()]
    intercept = np.ravel(intercept[0])
    coef = coef.reshape(-1, intercept.size).astype(float)
    theta = np.vstack([coef, intercept.astype(float)])
    if theta.shape[1] == 2:
        theta = _second_of(theta.T)
    elif theta.shape[1] == 1:
        _expect_positive_last(nodes, total.output[0])
        theta = theta[:, 0]
    else:
        raise ValueError(f"{theta.shape[1]} scores a row, expected 1 or 2")
    theta, labels = oriented(theta, labels[1], labels[0])
    single = intercept.dtype == np.float32
    written_as = f"ONNX MatMul and Add, {'float32' if single else 'double'}"
    rounding = FLOAT32 * np.abs(theta) if single else None
    return ["MatMul", "Add"], model_of(theta[:-1], theta[-1], labels, written_as, rounding)


READERS = {"LinearClassifier": _linear_classifier, "SVMClassifier": _svm_classifier, "MatMul": _product}


def _only(nodes, name):
    if len(nodes.get(name, ())) != 1:
        raise ValueError(f"{len(nodes.get(name, ()))} operators {name}, expected 1")
    return nodes[name][0]


def _second_of(rows):
    """The second of two opposite rows (coef, intercept): the label is that of the larger score."""
    if not np.array_equal(rows[0], -rows[1]):
        raise ValueError("two rows of coefficients that are not opposite: expected those of a binary classifier")
    return rows[1]


def _expect_positive_last(nodes, score):
    """One score is that of the second label: it, or its sigmoid, comes last where the label is chosen."""
    same = {score} | {n.output[0] for n in nodes.get("Sigmoid", ()) if n.input[0] == score}
    joined = nodes.get("Concat", ())
    if len(joined) != 1 or joined[0].input[-1] not in same or len(joined[0].input) != 2:
        raise ValueError("one score a row, and it is not the second of two that a label is chosen by")

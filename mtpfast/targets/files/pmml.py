"""Regression models of PMML with two classes."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from .model import model_of, oriented

__all__ = ["read_pmml"]

# Of two scores the larger is chosen whichever of these follows; SVMs are written as "logit", too.
INCREASING = {"none", "logit", "softmax", "simplemax", "probit", "cauchit"}
TYPES = {"integer": int, "float": float, "double": float, "string": str, "boolean": str}


def read_pmml(text):
    """The model of a PMML document whose model is a RegressionModel for two classes.

    Each class has a table of an intercept and a coefficient per field, and the class with the larger score is chosen:
    the model is the table of ``classes_[1]`` less that of ``classes_[0]``, which the writers leave at zero. A document
    type is refused (its entities could be made to grow without end), and nothing outside the document is read.
    """
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise ValueError("PMML with a document type, expected none")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML: {error}") from None
    for element in root.iter():  # the versions of PMML have namespaces of their own
        element.tag = element.tag.rpartition("}")[2]
    if root.tag != "PMML":
        raise ValueError(f"the root is {root.tag}, expected PMML")
    models = [child.tag for child in root if child.tag.endswith("Model") or child.tag in ("Scorecard", "RuleSet")]
    if models != ["RegressionModel"]:
        raise ValueError(f"holds {', '.join(models) or 'no model'}, expected one RegressionModel")
    if root.find("TransformationDictionary/DerivedField") is not None:
        raise ValueError("transforms its fields before the model: write the last step of the pipeline alone")
    model = root.find("RegressionModel")
    normalization = model.get("normalizationMethod", "none")
    if model.get("functionName") != "classification" or normalization not in INCREASING:
        raise ValueError(
            f"a RegressionModel with functionName {model.get('functionName')!r} and normalizationMethod "
            f"{normalization!r}, expected 'classification' and an increasing function such as 'logit'"
        )
    if model.find("LocalTransformations/DerivedField") is not None:
        raise ValueError("transforms its fields within the model: write the last step of the pipeline alone")
    types = {field.get("name"): field.get("dataType") for field in root.iterfind("DataDictionary/DataField")}
    role = {field.get("name"): field.get("usageType", "active") for field in model.iterfind("MiningSchema/MiningField")}
    columns = [name for name, usage in role.items() if usage == "active"]
    tables = model.findall("RegressionTable")
    if len(tables) != 2:
        raise ValueError(f"{len(tables)} RegressionTables, expected 2")
    target = next((name for name, usage in role.items() if usage in ("target", "predicted")), None)
    kind = TYPES.get(types.get(target), str)
    labels = [kind(table.get("targetCategory")) for table in tables]
    first, second = (_theta(table, columns) for table in tables)
    # One of the two is zero: the difference is exact, and so the text's digits are kept.
    if np.any(first) and np.any(second):
        raise ValueError("two RegressionTables that are not zero, expected one: the other class has the score 0")
    theta, classes = oriented(first - second, *labels)
    application = root.find("Header/Application")
    writer = "PMML" if application is None else f"PMML by {application.get('name')}"
    # Nyoka writes sixteen decimals of every number, whatever its size; others all digits.
    rounding = np.full(len(theta), 0.5e-16) if writer.endswith("Nyoka") else None
    names = np.array(columns, dtype=object)
    return model_of(
        theta[:-1], theta[-1], classes, f"{writer}, RegressionModel {normalization}", rounding, feature_names_in_=names
    )


def _theta(table, columns):
    theta = np.zeros(len(columns) + 1)
    theta[-1] = float(table.get("intercept", "0"))
    for term in table:
        if term.tag == "Extension":
            continue
        if term.tag != "NumericPredictor" or int(term.get("exponent", "1")) != 1 or term.get("name") not in columns:
            raise ValueError(f"a term {term.tag} of {term.get('name')!r}, expected NumericPredictors of active fields")
        theta[columns.index(term.get("name"))] = float(term.get("coefficient"))
    return theta

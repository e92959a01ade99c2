"""A report as SARIF 2.1.0, for what collects findings."""

from __future__ import annotations

__all__ = ["sarif_of"]


SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RULES = (
    ("AML.T0020", "PoisonTrainingData", "MITRE ATLAS AML.T0020: Poison Training Data",
     "https://atlas.mitre.org/techniques/AML.T0020"),
    ("ML02:2023", "DataPoisoningAttack", "OWASP Machine Learning Security Top Ten, ML02:2023: Data Poisoning Attack",
     "https://owasp.org/www-project-machine-learning-security-top-10/docs/ML02_2023-Data_Poisoning_Attack"),
    ("NIST-AI-100-2-poisoning", "PoisoningAttacks",
     "NIST AI 100-2, Adversarial Machine Learning: poisoning attacks (availability and targeted poisoning)",
     "https://csrc.nist.gov/pubs/ai/100/2/e2025/final"),
)  # fmt: skip


def sarif_of(tree: dict, table: str) -> dict:
    """The tree of a report as one SARIF run: one result per rule; its level says whether the goal was met.

    "error": the goal was met within the largest budget; "warning": the curve rises, or the goal takes more records;
    "note": nothing was found that raises the metric.
    """
    question, curve = tree["question"], tree["curve"]
    largest = question["budgets"][-1]["records"]
    met = tree["fewest"] is not None and tree["fewest"]["records"] <= largest
    clean = tree["clean"]["measured"]["value"]
    rises = tree["fewest"] is not None or any(point["attack"]["measured"]["value"] > clean for point in curve)
    level = "error" if met else "warning" if rises else "note"
    complete = all(part["status"] in ("done", "not proved", "not asked") for part in tree["parts"])
    location = {"physicalLocation": {"artifactLocation": {"uri": str(table).replace("\\", "/")}}}
    results = [
        {
            "ruleId": rule,
            "ruleIndex": i,
            "level": level,
            "message": {"text": tree["summary"]},
            "locations": [location],
            "partialFingerprints": {"trainingData/v1": tree["fingerprints"]["training"]},
        }
        for i, (rule, *_) in enumerate(RULES)
    ]
    rules = [
        {"id": rule, "name": name, "shortDescription": {"text": text}, "helpUri": uri}
        for rule, name, text, uri in RULES
    ]
    driver = {"name": "mtpfast", "version": tree["versions"]["mtpfast"], "rules": rules}
    invocation = {"executionSuccessful": complete}
    run = {"tool": {"driver": driver}, "invocations": [invocation], "results": results}
    return {"$schema": SARIF, "version": "2.1.0", "runs": [run]}

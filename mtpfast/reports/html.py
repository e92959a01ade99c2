"""The report as one page: no scripts, nothing loaded from anywhere."""

from __future__ import annotations

from html import escape

from .parts import COMPLETE, STATUSES
from .pictures import curve_picture
from .tree import METRICS, as_given, percent, why_not

__all__ = ["fragment", "page"]


STYLE = """
.mtpfast{--ink:#1f2328;--soft:#57606a;--line:#d0d7de;--paper:#fff;--tint:#f6f8fa;--mark:#c4320a;
color:var(--ink);background:var(--paper);font:16px/1.5 system-ui,sans-serif;
max-width:58rem;margin:0 auto;padding:1.5rem}
.mtpfast h1{font-size:1.1rem;color:var(--soft);font-weight:600;margin:0 0 .6rem}
.mtpfast h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
.mtpfast .first{font-size:1.35rem;line-height:1.4;font-weight:500;border-left:.3rem solid var(--mark);
padding-left:1rem;margin:0 0 1rem}
.mtpfast .wide{overflow-x:auto}
.mtpfast table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;margin:.5rem 0}
.mtpfast th,.mtpfast td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
.mtpfast th:first-child,.mtpfast td:first-child,.mtpfast .text td,.mtpfast .text th{text-align:left}
.mtpfast .text td{white-space:normal;overflow-wrap:anywhere;vertical-align:top}
.mtpfast thead th{background:var(--tint);vertical-align:bottom;white-space:normal;min-width:4rem}
.mtpfast .tight th{padding:.3rem .5rem;min-width:3rem;max-width:6.5rem}
.mtpfast .tight td{padding:.3rem .5rem}
.mtpfast .tight td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:12.5rem}
.mtpfast .text td:first-child{min-width:11rem;color:var(--soft)}
.mtpfast img{max-width:100%;height:auto;display:block}
.mtpfast .dark{display:none}
.mtpfast p.note,.mtpfast li{font-size:.925rem}
.mtpfast p.note{color:var(--soft)}
.mtpfast code{font-size:.85em;overflow-wrap:anywhere}
@media screen and (prefers-color-scheme:dark){
.mtpfast{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--paper:#0d1117;--tint:#161b22;--mark:#ff8f66}
.mtpfast .light{display:none}.mtpfast .dark{display:block}}
@media print{.mtpfast{max-width:none;padding:0;font-size:10pt}.mtpfast h2{break-after:avoid}
.mtpfast tr,.mtpfast img{break-inside:avoid}.mtpfast .wide{overflow:visible}
.mtpfast th,.mtpfast td{white-space:normal;padding:.15rem .35rem;font-size:8pt}}
"""
BODY = "@media screen and (prefers-color-scheme:dark){body{background:#0d1117}}body{margin:0}"


WIDE = 9  # columns of a table that a printed page holds


def page(report) -> str:
    """The whole file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Poisoning audit</title>\n<style>{BODY}</style>\n</head>\n<body>\n{fragment(report)}</body>\n</html>\n"
    )


def fragment(report) -> str:
    """What a notebook shows: the page without its frame."""
    tree = report.tree
    parts = [
        f"<style>{STYLE}</style>\n<main class='mtpfast'>\n<h1>Poisoning audit by mtpfast</h1>",
        f"<p class='first'>{escape(tree['summary'])}</p>",
        _unfinished(tree),
        _curve(tree),
        _records(tree),
        _defences(tree),
        _proof(tree),
        _model(tree),
        _not_tried(tree),
        _details(tree),
        "</main>\n",
    ]
    return "\n".join(part for part in parts if part)


def _table(head, rows, kind=""):
    cells = "".join(f"<th scope='col'>{escape(str(cell))}</th>" for cell in head)
    lines = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    head = f"<thead><tr>{cells}</tr></thead>" if any(head) else ""
    return f"<div class='wide'><table class='{kind}'>{head}<tbody>\n{body}</tbody></table></div>"


def _unfinished(tree):
    """Which parts are not whole, and what of them was left undone."""
    open_parts = [part for part in tree["parts"] if part["status"] not in COMPLETE]
    if not open_parts:
        return ""
    limit = tree["settings"]["time_limit"]
    limit = "" if limit is None else f" The time limit was {limit:g} s."
    lines = "".join(
        f"<li>{escape(part['name'])}: {escape(STATUSES[part['status']])}"
        + (f" ({escape(part['message'])})" if part["message"] else "")
        + "</li>"
        for part in open_parts
    )
    return f"<p class='note'><strong>Not all was run to its end.</strong>{escape(limit)}</p><ul>{lines}</ul>"


def _with_error(measure):
    if measure is None:
        return "not known"
    error = measure["standard_error"]
    return percent(measure["value"]) + ("" if error is None else f" ± {100 * error:.1f}")


def _curve(tree):
    question, metric = tree["question"], METRICS[tree["question"]["metric"]]
    if not tree["curve"]:
        return "<h2>What inserted records can do</h2><p>No budget was searched to its end.</p>"
    text = f"The {metric} against the number of records inserted: attack, label flips, and what is proved"
    if tree["fewest"]:
        text += f"; the goal is reached with {tree['fewest']['records']:,} records"
    images = [(scheme, curve_picture(tree, scheme)) for scheme in ("light", "dark")]
    shown = "".join(f"<img class='{s}' alt='{escape(text)}.' src='{uri}'>" for s, uri in images if uri)
    shown = shown or "<p class='note'>No picture: matplotlib is not installed.</p>"
    rows = [
        ("clean", "0", "", _with_error(tree["clean"]["measured"]), "", "", percent(tree["clean"]["everyone"]["value"]))
    ]
    for point in tree["curve"] + ([tree["fewest"]] if tree["fewest"] else []):
        budget = point["budget"]
        named = "the goal" if budget is None else as_given(budget)
        rows.append(
            (
                named,
                f"{point['records']:,}" if point["records"] else f"none of {point['allowed']:,} found to help",
                f"{point['distinct']:,}",
                _with_error(point["attack"]["measured"]),
                _with_error(point["flips"] and point["flips"]["measured"]),
                "not proved" if point["certified"] is None else f"at most {percent(point['certified'])}",
                percent(point["attack"]["everyone"]["value"]),
            )
        )
    where = f"<code>{escape(question['where'])}</code>" if question["where"] else "all rows"
    rest = "of the holdout" if question["measured_on"] == "holdout" else "for training (there is no holdout)"
    on = f"on the {question['measured_rows']:,} of these rows {rest}"
    note = (
        f"Rows aimed at: {where}. Every {metric} is measured {on}, after a copy of your pipeline was trained on the "
        "table with the records in it; ± is the standard error of that share. The search sees the training rows alone: "
        "in the holdout it may do more or less. Only for the goal are records added until the measured rows meet it. "
        "Found: other records may do more. Proved: no records, so many or fewer, do more. "
        "Label flips, to compare with: as many copies of clean records that carry the other label, the best of three "
        "ways to choose them. Attack, on all rows: the same model, on the rows not aimed at, too."
    )
    head = (
        "budget",
        "records",
        "distinct",
        "attack (found)",
        "label flips",
        "guarantee (proved)",
        "attack, on all rows",
    )
    return f"<h2>What inserted records can do</h2>\n{shown}\n{_table(head, rows)}\n<p class='note'>{note}</p>"


def _records(tree):
    records = tree["records"]
    if not records["rows"]:
        return ""
    head = ("times", tree["question"]["label"], *records["columns"])
    rows = [(f"{row['times']:,}", row["label"], *map(_short, row["record"])) for row in records["rows"]]
    kind = ""
    if len(head) > WIDE:  # a record to a column: a page is not so wide
        kind, (head, *rows) = "tight", zip(head, *rows, strict=True)
    note = (
        f"{len(records['rows'])} of {records['distinct']:,} distinct records, the most frequent first. All of them: "
        "inserted.csv."
    )
    return f"<h2>The records</h2>\n{_table(head, rows, kind)}\n<p class='note'>{note}</p>"


def _short(value):
    return f"{value:.6g}" if isinstance(value, float) else value


def _defences(tree):
    found = tree["defences"]
    if found is None:
        why = escape(why_not(tree["parts"], "defences"))
        return f"<h2>Which checks would see them</h2><p>No check was tried: {why}.</p>"
    metric = METRICS[tree["question"]["metric"]]
    rows = [
        (
            row["defence"],
            {"own": "own", "poison": "as inserted"}.get(row["rule"], f"{row['share']:.3g}"),
            f"{row['n_removed']:,.0f}",
            percent(_number(row["recall"])),
            percent(_number(row["clean_lost"])),
            percent(_number(row["metric_aimed"])),
            percent(_number(row["metric_aimed_without_poison"])),
            percent(_number(row["clean_lost_without_poison"])),
        )
        for row in found["rows"]
    ]
    head = (
        "check", "removes", "rows removed", "of the records", "of the clean rows", f"{metric} after it",
        f"no poison: {metric}", "no poison: clean rows removed",
    )  # fmt: skip
    note = (
        f"The {found['records']:,} records of the first sentence stand in random places of the table; every check "
        "reads that table, removes rows, and the pipeline is trained on the rest. Removes: by its own threshold (own), "
        "or as many rows as were inserted, those that it finds oddest (as inserted). Of the records: the share of them "
        "removed; of the clean rows: false alarms. No poison: the same check on the clean table. To compare with: "
        "nothing removed (none), exactly the inserted records (Oracle), rows at random (RandomRemoval)."
    )
    failed = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in (found["failures"] or {}).items())
    failed = f"<p class='note'>Could not be used:</p><ul>{failed}</ul>" if failed else ""
    return f"<h2>Which checks would see them</h2>\n{_table(head, rows, 'tight')}\n<p class='note'>{note}</p>{failed}"


def _count(bound):
    return "without end (no number changes it)" if bound >= 2**53 else f"{bound:,.0f}"


def _number(value):
    return float("nan") if value is None else value


def _proof(tree):
    proof, minimum, question = tree["proof"], tree["minimum"], tree["question"]
    lines = []
    if not proof["proved"]:
        lines.append(f"Not proved: how few records could do it, whatever they are. {proof['reason']}.")
    else:
        seen, all_seen = f"the {proof['rows']:,} rows aimed at", proof["rows_looked_at"] == proof["rows"]
        seen = seen if all_seen else f"{proof['rows_looked_at']:,} of {seen}, those of the largest margins,"
        if proof["largest_bound"] is not None:
            lines.append(
                f"For each of {seen} there is a proved number: fewer inserted records cannot change its "
                f"prediction, whatever they hold within the ranges and levels of the clean table. The median of these "
                f"numbers is {_count(proof['median_bound'])}, the largest {_count(proof['largest_bound'])}."
            )
        if proof["rows_looked_at"] < proof["rows"]:
            lines.append(
                "The other rows were not looked at: nothing is claimed of them, and they count as wrong in what is "
                "proved here. (Where the first rows take one record each, or too few for the smallest budget, the "
                "others add nothing; prove=True, --prove all, looks at all.)"
            )
        if question["goal"] is not None:
            least = proof["fewer_than"]
            said = (
                "no number of records brings" if proof["no_number"] else f"fewer than {least:,} records cannot bring"
            ) + f" the {METRICS[question['metric']]} to {percent(question['goal'])}"
            lines.append(f"Hence {said}: proved." if proof["no_number"] or least >= 2 else
                         "Numbers so small say nothing of how many records the goal takes.")  # fmt: skip
        lines.append(
            "The proofs speak of the model that your pipeline's last step aims at (its exact optimum), with the "
            "imputer, scaler and encoder that the clean table makes."
        )
    if minimum["proved"]:
        least = minimum["lower_bound"]
        bound = "no number of records makes" if least is None else f"at least {least:,} records are needed to make"
        lines.append(
            f"The records of the first sentence lead to one model: {bound} exactly that one (proved). Another model "
            "that is wrong as often may take fewer."
        )
    else:
        lines.append(
            "Not proved: how few records lead to exactly the model that those of the first sentence lead to. "
            f"{minimum['reason']}."
        )
    return "<h2>What is guaranteed</h2>\n" + "\n".join(f"<p>{escape(line)}</p>" for line in lines)


def _model(tree):
    model = tree["model"]
    penalty = f"C = {model['C']:g}" if model["C"] is not None else f"alpha = {model['alpha']:g}"
    gap = model["largest_gap_to_refit"]
    rows = [
        ("your last step", model["estimator"]),
        (
            "modelled as",
            f"{model['loss'].replace('_', ' ')}, l2 penalty with {penalty}, intercept {model['intercept']}",
        ),
        *([("attacked is, of the wrapper", model["wrapper"])] if model["wrapper"] else []),
        ("class weights", model["class_weight"] or "none"),
        ("features after preprocessing", f"{model['features']:,}"),
        ("preprocessing", model["preprocessing"] or "none"),
        ("in the search and the proofs", "imputer, scaler and encoder as fitted to the clean table"),
        ("in every number of the curve", "fitted again to the table with the records in it"),
        (
            "largest gap between the two",
            percent(gap) + " on the training rows aimed at" if gap is not None else "not known",
        ),
        ("tolerance of your trainer", model["trainer_tol"]),
        ("what it warned of", "; ".join(model["trainer_warnings"]) or "nothing"),
    ]
    return f"<h2>How it was modelled</h2>\n{_table(('', ''), rows, 'text')}"


def _not_tried(tree):
    return (
        "<h2>What was not tried</h2>\n<ul>" + "".join(f"<li>{escape(one)}</li>" for one in tree["not_tried"]) + "</ul>"
    )


def _details(tree):
    question = tree["question"]
    rows = [
        ("table", f"{question['rows']:,} rows, {question['columns']:,} columns; label {question['label']}: "
                  f"{' and '.join(map(str, question['classes']))}"),
        ("holdout", "none: the training rows are measured" if question["holdout_rows"] is None
                    else f"{question['holdout_rows']:,} rows"),
        ("rules for inserted records", question["rules"] or "none but the ranges and levels of the table"),
        *tree["settings"].items(),
        *(("version of " + name, number) for name, number in tree["versions"].items()),
        *((f"SHA-256 of the {name} data", digest) for name, digest in tree["fingerprints"].items()),
    ]  # fmt: skip
    times = [(part["name"], part["status"], part["message"], f"{part['seconds']:.1f}") for part in tree["parts"]]
    return (
        f"<h2>Settings, versions, times</h2>\n{_table(('', ''), rows, 'text')}\n"
        f"{_table(('part', 'how it ended', '', 'seconds'), times, 'text')}"
    )

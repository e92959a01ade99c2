"""The report as one page: no scripts, nothing loaded from anywhere."""

from __future__ import annotations

from html import escape

from .pictures import curve_picture
from .tree import METRICS, percent

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
    open_parts = [part for part in tree["parts"] if part["status"] not in ("done", "not proved")]
    if not open_parts:
        return ""
    said = "; ".join(
        f"{part['name']}: {part['status']}" + (f" ({part['message']})" if part["message"] else "")
        for part in open_parts
    )
    return f"<p class='note'><strong>Not all parts came to their end.</strong> {escape(said)}.</p>"


def _with_error(measure):
    if measure is None:
        return "not known"
    error = measure["standard_error"]
    return percent(measure["value"]) + ("" if error is None else f" ± {100 * error:.1f}")


def _curve(tree):
    question, metric = tree["question"], METRICS[tree["question"]["metric"]]
    if not tree["curve"]:
        return "<h2>What inserted records can do</h2><p>No budget was searched to its end.</p>"
    text = f"The {metric} against the number of records inserted: attack, label flips, and what is proved."
    images = [(scheme, curve_picture(tree, scheme)) for scheme in ("light", "dark")]
    shown = "".join(f"<img class='{s}' alt='{escape(text)}' src='{uri}'>" for s, uri in images if uri)
    shown = shown or "<p class='note'>No picture: matplotlib is not installed.</p>"
    rows = [
        ("clean", "0", "", _with_error(tree["clean"]["measured"]), "", "", percent(tree["clean"]["everyone"]["value"]))
    ]
    for point in tree["curve"] + ([tree["fewest"]] if tree["fewest"] else []):
        budget = point["budget"]
        named = "goal" if budget is None else f"{100 * budget:g} %" if budget < 1 else f"{budget:,}"
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
        f"Rows aimed at: {where}. Every {metric} is measured {on}, in a clone of your pipeline fitted to the table "
        "with the records in it; ± is its standard error. The search aims at the training rows and does not see the "
        "holdout; only the number of records for a goal goes up until these rows meet it. Label flips: as "
        "many copies of clean records with the other label, the best of three choices. What is found is "
        "found, not proved to be the most."
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
    if len(head) > WIDE:  # a record to a column: a page is not so wide
        head, *rows = zip(head, *rows, strict=True)
    note = (
        f"{len(records['rows'])} of {records['distinct']:,} distinct records, the most frequent first. All of them: "
        "inserted.csv."
    )
    return f"<h2>The records</h2>\n{_table(head, rows)}\n<p class='note'>{note}</p>"


def _short(value):
    return f"{value:.6g}" if isinstance(value, float) else value


def _defences(tree):
    found = tree["defences"]
    if found is None:
        return "<h2>Which checks would see them</h2><p>Not asked, or not come to: no sanitiser was tried.</p>"
    metric = METRICS[tree["question"]["metric"]]
    rows = [
        (
            row["defence"],
            {"own": "its own", "poison": "as many as were inserted"}.get(row["rule"], f"{row['share']:.3g}"),
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
        "check", "rule", "rows removed", "inserted records seen", "clean rows lost (false alarms)",
        f"{metric} after it", f"{metric} without poison", "clean rows lost without poison",
    )  # fmt: skip
    note = (
        f"The {found['records']:,} records of the first sentence in random places of the table; every check is fitted "
        "to the poisoned table, as it would be, and the pipeline to what it leaves. Beside them: nothing removed "
        "(none), exactly the inserted records removed (Oracle), rows removed at random (RandomRemoval)."
    )
    failed = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in (found["failures"] or {}).items())
    failed = f"<p class='note'>Could not be used:</p><ul>{failed}</ul>" if failed else ""
    return f"<h2>Which checks would see them</h2>\n{_table(head, rows)}\n<p class='note'>{note}</p>{failed}"


def _count(bound):
    return "that no number flips them" if bound >= 2**53 else f"{bound:,.0f}"


def _number(value):
    return float("nan") if value is None else value


def _proof(tree):
    proof, minimum, question = tree["proof"], tree["minimum"], tree["question"]
    lines = []
    if not proof["proved"]:
        lines.append(f"Not proved: how many records any attack needs at least. {proof['reason']}.")
    else:
        seen = f"{proof['rows_looked_at']:,} of the {proof['rows']:,} rows aimed at"
        surest = "" if proof["rows_looked_at"] == proof["rows"] else ", those of the largest margins,"
        if proof["largest_bound"] is not None:
            lines.append(
                f"For {seen}{surest} a number of insertions is proved that fewer cannot flip, whatever is inserted "
                f"within the ranges and levels of the clean table; its median is "
                f"{_count(proof['median_bound'])}, the largest {_count(proof['largest_bound'])}."
            )
        if proof["rows_looked_at"] < proof["rows"]:
            lines.append(
                "The other rows were not looked at: nothing is claimed of them, and they count as wrong in what is "
                "proved here. (Where the first rows take one record each, or too few for the smallest budget, the "
                "others add nothing; prove=True looks at all.)"
            )
        if question["goal"] is not None:
            least = proof["fewer_than"]
            said = (
                "no number of records brings" if proof["no_number"] else f"fewer than {least:,} records cannot bring"
            ) + f" the {METRICS[question['metric']]} to {percent(question['goal'])}"
            lines.append(f"Hence {said}: proved." if proof["no_number"] or least >= 2 else
                         "With bounds this small nothing follows for the goal.")  # fmt: skip
        lines.append(
            "The proofs speak of the model that your pipeline's last step aims at (its exact optimum), with the "
            "imputer, scaler and encoder that the clean table makes."
        )
    if minimum["proved"]:
        bound = "no number of records suffices" if minimum["lower_bound"] is None else f"{minimum['lower_bound']:,}"
        lines.append(
            f"To make exactly the model of the first sentence, at least so many records are needed: {bound} (proved)."
        )
    else:
        lines.append(f"Not proved: how many records make exactly the model of the first sentence. {minimum['reason']}.")
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

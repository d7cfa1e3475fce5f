"""Generates json_fields.json: 2,000 answers, and what a plain implementation in Python makes of them.

    python3 tests/vectors/json_fields.py > tests/vectors/json_fields.json

It shares no code with etalon: json, re and decimal of the standard library alone.
"""

import json
import random
import re
from decimal import Decimal

MISSING = object()
FIELDS = ["intent", "order.id", "total", "urgent", "tags", "note"]


def objects(text):
    """Yields the objects among other words, from left to right."""
    decoder = json.JSONDecoder(parse_float=Decimal)
    at = 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
            continue
        yield value
        at = end


def at_path(value, path):
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


def read(text):
    """Returns the object that an answer holds; None if there is none."""
    fenced = re.fullmatch(r"\s*```\w*\n(.*?)\n```\s*", text, re.S)
    for whole in [text] + ([fenced[1]] if fenced else []):
        try:
            value = json.loads(whole, parse_float=Decimal)
            return value if isinstance(value, dict) else None
        except ValueError:
            pass
    found = list(objects(text))
    wanted = [value for value in found if any(at_path(value, name) is not MISSING for name in FIELDS)]
    return (wanted or found or [None])[-1]


def number(value):
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, Decimal)):
        return Decimal(value)
    if isinstance(value, str) and re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", value.strip()):
        return Decimal(value.strip())
    return None


def same(a, b, settings):
    if isinstance(a, str) and isinstance(b, str):
        a, b = a.strip(), b.strip()
        return a.lower() == b.lower() if settings["mode"] == "casefold" else a == b
    if isinstance(a, list) and isinstance(b, list):
        if settings["lists"] == "set":
            return all(any(same(x, y, settings) for y in b) for x in a) and all(
                any(same(x, y, settings) for x in a) for y in b
            )
        return len(a) == len(b) and all(same(x, y, settings) for x, y in zip(a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        word = lambda v: v.strip().lower() if isinstance(v, str) else str(v).lower() if isinstance(v, bool) else None
        return word(a) is not None and word(a) == word(b) and word(a) in ("true", "false")
    if number(a) is not None and number(b) is not None:
        return number(a) == number(b)
    return type(a) is type(b) and a == b


def none(value):
    return value is MISSING or value is None


def count(text, gold, settings):
    answer = read(text)
    for name in FIELDS:
        wanted = at_path(gold, name)
        said = MISSING if answer is None else at_path(answer, name)
        if answer is None:
            yield name, "missing" if not none(wanted) else "unreadable"
        elif none(wanted):
            yield name, "none" if none(said) else "extra"
        elif none(said):
            yield name, "missing"
        else:
            yield name, "right" if same(said, wanted, settings) else "wrong"


def ratio(part, whole):
    return part / whole if whole else None


def scores(counts):
    right, nothing, wrong, missing, extra, unreadable = (
        counts.get(word, 0) for word in ("right", "none", "wrong", "missing", "extra", "unreadable")
    )
    return {
        "accuracy": ratio(right + nothing, right + nothing + wrong + missing + extra + unreadable),
        "precision": ratio(right, right + wrong + extra),
        "recall": ratio(right, right + wrong + missing),
        "f1": ratio(2 * right, 2 * right + 2 * wrong + missing + extra),
    }


def values(rows, settings):
    by_field = {name: {} for name in FIELDS}
    whole, unreadable = 0, 0
    for text, gold in rows:
        found = dict(count(text, gold, settings))
        whole += all(word in ("right", "none") for word in found.values()) and read(text) is not None
        unreadable += read(text) is None
        for name, word in found.items():
            by_field[name][word] = by_field[name].get(word, 0) + 1
    total = {}
    for counts in by_field.values():
        for word, n in counts.items():
            total[word] = total.get(word, 0) + n
    gold = sum(total.get(word, 0) for word in ("right", "wrong", "missing"))
    result = {"": whole / len(rows), "unreadable": unreadable / len(rows), **scores(total)}
    result["wrong"] = ratio(total.get("wrong", 0), gold)
    result["missing"] = ratio(total.get("missing", 0), gold)
    result["extra"] = ratio(total.get("extra", 0), total.get("extra", 0) + total.get("none", 0))
    of_fields = [scores(counts)["f1"] for counts in by_field.values()]
    defined = [f1 for f1 in of_fields if f1 is not None]
    result["f1_macro"] = ratio(sum(defined), len(defined))
    for name, counts in by_field.items():
        result.update({f"{part}.{name}": value for part, value in scores(counts).items()})
    return result


def gold(draw):
    return {
        "intent": draw.choice(["billing", "Shipping", "refund", None]),
        "order": {"id": draw.choice([None, 17, 9007199254740993, "A-3"])},
        "total": draw.choice([None, 3, 3.5, 100, "12.50"]),
        "urgent": draw.choice([True, False, None]),
        "tags": draw.choice([[], ["a"], ["a", "b"], None]),
        "note": draw.choice(["Call back.", "none", "", None]),
    }


def answer(draw, wanted):
    said = json.loads(json.dumps(wanted))
    for name in list(said):
        roll = draw.random()
        if roll < 0.08:
            del said[name]
        elif roll < 0.14:
            said[name] = None
        elif roll < 0.24:
            said[name] = gold(draw)[name]
        elif roll < 0.34 and isinstance(said[name], (bool, int)):
            said[name] = str(said[name])
        elif roll < 0.34 and isinstance(said[name], list):
            said[name] = said[name][::-1] + said[name][:1]
        elif roll < 0.34 and isinstance(said[name], str):
            said[name] = draw.choice([said[name].upper(), f" {said[name]} "])
        elif roll < 0.38 and isinstance(said[name], float):
            said[name] = f"{said[name]:.2f}"
    text = json.dumps(said, ensure_ascii=draw.random() < 0.5)
    forms = [
        text,
        text,
        f"```json\n{text}\n```",
        f"Here it is:\n\n```\n{text}\n```\n\nAnything else?",
        f"The answer is {text}, I think.",
        f"First {json.dumps({'intent': 'x'})}, but then {text}",
        f"{text}\n(see {json.dumps({'source': 1})})",
        text[: draw.randrange(len(text))] if draw.random() < 0.5 else "I cannot tell.",
        json.dumps([said]) if draw.random() < 0.3 else text,
    ]
    return draw.choice(forms)


def main():
    draw = random.Random(20261126)
    cases = []
    for index in range(20):
        settings = {"mode": draw.choice(["trim", "casefold"]), "lists": draw.choice(["order", "set"])}
        rows = []
        for _ in range(100):
            wanted = gold(draw)
            rows.append((answer(draw, wanted), wanted))
        cases.append(
            {
                "id": f"json_fields-{index:02}",
                "category": settings["lists"],
                "input": {
                    "settings": {"fields": FIELDS, **settings},
                    "rows": [{"prediction": text, "reference": wanted} for text, wanted in rows],
                },
                "expected": values([(text, json.loads(json.dumps(it), parse_float=Decimal)) for text, it in rows], settings),
            }
        )
    document = {"family": "json_fields", "split": "dev", "tolerance": {"abs": 1e-12}, "cases": cases}
    print(json.dumps(document, ensure_ascii=False))


main()

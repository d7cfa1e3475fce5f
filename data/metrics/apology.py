"""A metric of one's own: how many apologies a reply has. A line in, a line out."""
import json
import sys

for line in sys.stdin:
    case = json.loads(line)  # id, sample, prediction, reference
    text = (case["prediction"] or "").lower()
    apologies = sum(text.count(word) for word in ("sorry", "apologise", "apologize"))
    print(json.dumps({"score": apologies == 1, "apologies": apologies}))

"""The reference implementations that `cargo bench --bench metrics` measures against.

Called with a task and a file of JSON lines; prints one line of JSON: seconds (without imports, loading
and reading the file) and what was computed, so that the values can be compared.
"""
import json
import sys
import time


def timed(work):
    start = time.perf_counter()
    value = work()
    print(json.dumps({"seconds": time.perf_counter() - start, "value": value}))


task, path = sys.argv[1:3]
rows = [json.loads(line) for line in open(path, encoding="utf-8")]
predictions = [row.get("prediction") for row in rows]
references = [row.get("reference") for row in rows]

if task in ("rouge1", "rougeL", "rougeLsum"):
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer([task])
    scores = lambda: [scorer.score(r, p)[task].fmeasure for r, p in zip(references, predictions)]
    timed(lambda: sum(scores()) / len(rows))
elif task in ("bleu", "chrf", "chrf++", "ter"):
    from sacrebleu.metrics import BLEU, CHRF, TER

    metric = {"bleu": BLEU, "chrf": CHRF, "chrf++": lambda: CHRF(word_order=2), "ter": TER}[task]()
    timed(lambda: metric.corpus_score(predictions, [references]).score)
elif task == "squad_f1":
    import collections
    import re
    import string

    # As in the published evaluate-v2.0.py, which is no package.
    def normal(text):
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    def f1(prediction, reference):
        p, r = normal(prediction).split(), normal(reference).split()
        common = sum((collections.Counter(p) & collections.Counter(r)).values())
        if not p or not r:
            return float(p == r)
        if common == 0:
            return 0.0
        precision, recall = common / len(p), common / len(r)
        return 2 * precision * recall / (precision + recall)

    timed(lambda: sum(f1(p, r) for p, r in zip(predictions, references)) / len(rows))
elif task == "classification":
    from sklearn.metrics import classification_report

    timed(lambda: classification_report(references, predictions, output_dict=True)["macro avg"]["f1-score"])
elif task == "bootstrap":
    import numpy
    from scipy.stats import bootstrap

    values = numpy.array([row["value"] for row in rows])
    work = lambda: bootstrap(
        (values,), numpy.mean, n_resamples=10_000, method="percentile", rng=numpy.random.default_rng(1)
    )
    timed(lambda: list(work().confidence_interval))
elif task == "dedupe":
    import re

    from datasketch import MinHash, MinHashLSH

    def dedupe():
        lsh = MinHashLSH(threshold=0.7, num_perm=128)
        kept = 0
        for number, text in enumerate(predictions):
            tokens = re.findall(r"\w+", text.lower())
            shingles = {" ".join(tokens[i : i + 5]).encode() for i in range(max(1, len(tokens) - 4))}
            minhash = MinHash(num_perm=128)
            minhash.update_batch(shingles)
            if not lsh.query(minhash):
                lsh.insert(number, minhash)
                kept += 1
        return kept

    timed(dedupe)
elif task == "bertscore":
    import os

    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from bert_score import BERTScorer

    scorer = BERTScorer(model_type=sys.argv[3], num_layers=6, device="cpu", batch_size=int(sys.argv[4]))
    timed(lambda: scorer.score(predictions, references)[2].mean().item())
else:
    sys.exit(f"there is no task {task}")

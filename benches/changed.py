"""Processor time of a run in which 1 % of 100,000 rows changed, against one Python loop over the same file.

    cargo build --release && python3 benches/changed.py target/release/etalon

The loop parses each line, writes it anew and digests what it writes. etalon's side is the whole process: a dataset,
completions (1,000 calls to a server on loopback, a process of its own) and a metric, all three run again. Both
alternate, five rounds; ratios are printed, and their median.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROWS = 100_000
ROUNDS = 5

PIPELINE = """\
etalon: 1
name: p
models:
  m: {{ provider: openai, base_url: "{url}", model: m, revision: "1", concurrency: 64 }}
stages:
  rows: {{ kind: dataset, path: data/rows.jsonl, id: key }}
  answers: {{ kind: inference, input: rows, models: [m], prompt: "{{{{ row.question }}}}" }}
  exact: {{ kind: metric, input: answers, reference: "{{{{ row.gold }}}}", metrics: [exact_match] }}
"""

LOOP = """
import hashlib, json, sys
digest = hashlib.sha256()
with open(sys.argv[1]) as rows, open(sys.argv[2], "w") as out:
    for line in rows:
        written = json.dumps(json.loads(line)) + "\\n"
        digest.update(written.encode())
        out.write(written)
"""


class Server(ThreadingHTTPServer):
    request_queue_size = 512


class Answer(BaseHTTPRequestHandler):
    """Says `answer 7`, or `answer 7 v3` where the question has a version."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        words = body["messages"][-1]["content"].split()
        text = " ".join(["answer", words[1]] + [word for word in words[2:] if word[0] == "v" and word[1:].isdigit()])
        message = {"role": "assistant", "content": text}
        reply = {"id": "r", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def write_rows(path: Path, version: int) -> None:
    with path.open("w") as out:
        for row in range(ROWS):
            question = f"question {row} with as many words as a question of this kind has"
            if version and row % 100 == version % 100:
                question += f" v{version}"
            out.write(json.dumps({"key": f"k{row:06}", "question": question, "gold": f"answer {row}"}) + "\n")


def processor_seconds(command: list[str]) -> float:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command[0]} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        Server(("127.0.0.1", int(sys.argv[2])), Answer).serve_forever()
    etalon = str(Path(sys.argv[1]).resolve())
    port = random.randint(20_000, 40_000)
    server = subprocess.Popen([sys.executable, __file__, "serve", str(port)])
    os.environ["OPENAI_API_KEY"] = "key-of-the-benchmark"
    try:
        with tempfile.TemporaryDirectory() as directory:
            workspace = Path(directory)
            for name in ["data", "pipelines"]:
                (workspace / name).mkdir()
            (workspace / "etalon.toml").write_text("")
            (workspace / "pipelines/p.yaml").write_text(PIPELINE.format(url=f"http://127.0.0.1:{port}/v1"))
            rows = workspace / "data/rows.jsonl"
            run = [etalon, "--workspace", directory, "run", "p"]
            write_rows(rows, 0)
            processor_seconds(run)
            ratios = []
            for version in range(1, ROUNDS + 1):
                write_rows(rows, version)
                own = processor_seconds(run)
                loop = processor_seconds([sys.executable, "-c", LOOP, str(rows), str(workspace / "out.jsonl")])
                ratios.append(own / loop)
                print(f"etalon {own:.2f} s, Python {loop:.2f} s, ratio {own / loop:.2f}", flush=True)
            print(f"median ratio {statistics.median(ratios):.2f}")
    finally:
        server.kill()


if __name__ == "__main__":
    main()

"""Servers at fault: what becomes of 2,000 rows, and how long that takes, as a ratio to a server without faults.

    cargo build --release && python3 benches/faults.py [PATH-OF-ETALON] [ROWS]

A server on loopback (asyncio, in this process) answers in 20 ms and fails a share of its calls in one way. A line per
fault and share, for both APIs: rows that have the right answer, rows that failed with a message, answers that were
delivered whole more than once (there must be none), and the time. A wrong answer, or a row that is neither right nor
named as failed, ends the bench with an error.
"""

import asyncio
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import loopback

TAKES, TIMEOUT = 0.02, 1.0
FAULTS = ["429", "429 with Retry-After", "500", "503", "reset", "hang", "cut off", "no JSON", "slow drip", "200 with an error", "billed and empty"]
SHARES = [0.01, 0.1, 0.3]


class Server:
    def __init__(self, fault, share, api):
        self.fault, self.share, self.api = fault, share, api
        self.delivered, self.draw = {}, random.Random(11)

    def reply(self, text):
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "input_tokens": 5, "output_tokens": 2}
        if self.api == "anthropic":
            return {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
        return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}

    async def answer(self, reader, writer):
        def send(status, body, headers="", length=None):
            length = len(body) if length is None else length
            writer.write(f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n".encode() + body)

        try:
            while True:
                asked = json.loads(await loopback.read_request(reader))["messages"][-1]["content"]
                good = json.dumps(self.reply("answer to " + asked)).encode()
                await asyncio.sleep(TAKES)
                fault = self.fault if self.draw.random() < self.share else None
                error = b'{"error": {"message": "no", "code": 502}}'
                if fault in ("429", "429 with Retry-After"):
                    send("429 Too Many Requests", error, "retry-after: 1\r\n" if "with" in fault else "")
                elif fault in ("500", "503"):
                    send(f"{fault} Sorry", error)
                elif fault == "reset":
                    writer.transport.abort()
                    return
                elif fault == "hang":
                    await asyncio.sleep(3 * TIMEOUT)
                    writer.transport.abort()
                    return
                elif fault == "cut off":
                    send("200 OK", good[: len(good) // 2], length=len(good))
                    await writer.drain()
                    writer.close()
                    return
                elif fault == "no JSON":
                    send("200 OK", b"<html>gateway</html>")
                elif fault == "200 with an error":
                    send("200 OK", error)
                elif fault == "billed and empty":
                    empty = self.reply("")
                    empty.pop("choices", None), empty.pop("content", None)
                    send("200 OK", json.dumps(empty).encode())
                else:
                    if fault == "slow drip":
                        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(good)}\r\n\r\n".encode())
                        for at in range(0, len(good), 40):
                            writer.write(good[at : at + 40])
                            await writer.drain()
                            await asyncio.sleep(0.05)
                    else:
                        send("200 OK", good)
                    self.delivered[asked] = self.delivered.get(asked, 0) + 1
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def run(program, rows, fault, share, api):
    server = Server(fault, share, api)
    port = loopback.serve(server.answer)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fields = f"concurrency: 64, timeout: {TIMEOUT}"
        loopback.workspace(folder, rows, api, port, fields, ", max_failures: 100%")
        begin = time.monotonic()
        ran = subprocess.run([program, "run", "p.yaml"], cwd=folder, capture_output=True, text=True)
        took = time.monotonic() - begin
        assert ran.returncode == 0, (fault, share, ran.returncode, ran.stderr[-500:])
        shown = subprocess.run([program, "show", "p.yaml", "answers", "--format", "json"], cwd=folder, capture_output=True, text=True)
    right = failed = 0
    for line in shown.stdout.splitlines():
        row = json.loads(line)
        if row["status"] == "failed":
            failed += 1
            assert row["error"], row
        else:
            assert row["completion"] == "answer to " + row["row"]["q"], row
            right += 1
    assert right + failed == rows, (right, failed)
    twice = sum(count - 1 for count in server.delivered.values())
    assert twice == 0, (fault, share, api, twice)
    return took, right, failed


def main():
    program = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/etalon").resolve())
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 2_000
    print(f"{'fault':<24}{'share':>6} {'openai':>24} {'anthropic':>24}")
    free = {api: run(program, rows, None, 0, api)[0] for api in ("openai", "anthropic")}
    for fault in FAULTS:
        for share in SHARES:
            cells = []
            for api in ("openai", "anthropic"):
                took, right, failed = run(program, rows, fault, share, api)
                cells.append(f"{right} right {failed:>4} failed {took / free[api]:>5.2f} x")
            print(f"{fault:<24}{share:>6.0%} " + " ".join(f"{cell:>24}" for cell in cells), flush=True)


main()

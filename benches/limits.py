"""Servers with limits: how long a run takes, as a ratio to the ideal time, and how many calls are refused.

    cargo build --release && python3 benches/limits.py [PATH-OF-ETALON]

A server on loopback (asyncio, in this process) answers 2,000 rows in 50 ms each and refuses calls by one rule. The ideal
is what the rule alone costs. A line per rule; a row that is lost fails the run.
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

ROWS, TAKES, CONCURRENCY = 2_000, 0.05, 64
RULES = {
    # name: (calls at once, share refused by chance, closed for so many seconds, Retry-After)
    "no limit": (10**9, 0.0, 0, None),
    "32 at once": (32, 0.0, 0, None),
    "32 at once, Retry-After: 0": (32, 0.0, 0, "0"),
    "8 at once": (8, 0.0, 0, None),
    "10 % refused by chance": (10**9, 0.1, 0, None),
    "20 % refused by chance, Retry-After: 0": (10**9, 0.2, 0, "0"),
    "closed for 20 s, Retry-After: 20": (10**9, 0.0, 20, "20"),
    "closed for 20 s": (10**9, 0.0, 20, None),
}


# Quotas per time, as a bucket that fills all the time: 100 calls, or 10,000 tokens, a second; a second's worth at most.
PER_SECOND = 100
QUOTAS = {
    # name: how the server says that the quota is used up
    "6,000 requests a minute, with headers": "headers",
    "6,000 requests a minute, Retry-After": "retry-after",
    "6,000 requests a minute, without a word": None,
    "600,000 tokens a minute, with headers": "token headers",
}


class Bucket:
    def __init__(self):
        self.level, self.at = float(PER_SECOND), time.monotonic()

    def take(self):
        now = time.monotonic()
        self.level, self.at = min(PER_SECOND, self.level + (now - self.at) * PER_SECOND), now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class Server:
    def __init__(self, at_once, chance, closed, retry_after, quota=None):
        self.at_once, self.chance, self.closed, self.retry_after = at_once, chance, closed, retry_after
        self.quota, self.bucket = quota, Bucket() if quota else None
        self.busy = self.answered = self.refused = 0
        self.begun = None
        self.draw = random.Random(7)

    async def answer(self, reader, writer):
        try:
            while True:
                await loopback.read_request(reader)
                self.begun = self.begun or time.monotonic()
                is_closed = time.monotonic() - self.begun < self.closed
                is_closed = is_closed or self.bucket is not None and not self.bucket.take()
                if is_closed or self.busy >= self.at_once or self.draw.random() < self.chance:
                    self.refused += 1
                    status, body = "429 Too Many Requests", '{"error": {"message": "slow down"}}'
                else:
                    self.busy += 1
                    await asyncio.sleep(TAKES)
                    self.busy -= 1
                    self.answered += 1
                    status, body = "200 OK", json.dumps(
                        {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
                    )
                retry = f"retry-after: {self.retry_after}\r\n" if self.retry_after is not None and status[0] == "4" else ""
                if self.bucket is not None:
                    left, wait = int(self.bucket.level), max(0.0, (1 - self.bucket.level) / PER_SECOND)
                    kind = {"headers": "requests", "token headers": "tokens"}.get(self.quota[0])
                    if kind:
                        scale = 100 if kind == "tokens" else 1
                        retry += f"x-ratelimit-remaining-{kind}: {left * scale}\r\nx-ratelimit-reset-{kind}: {wait * 1000:.0f}ms\r\n"
                    elif self.quota[0] == "retry-after" and status[0] == "4":
                        retry += "retry-after: 1\r\n"
                writer.write(
                    f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{retry}content-length: {len(body)}\r\n\r\n{body}".encode()
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def run(program, rule, quota=None, concurrency=CONCURRENCY):
    server = Server(*rule, quota)
    port = loopback.serve(server.answer)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        loopback.workspace(folder, ROWS, "openai", port, f"concurrency: {concurrency}")
        begin = time.monotonic()
        ran = subprocess.run([program, "run", "p.yaml"], cwd=folder, capture_output=True, text=True)
        took = time.monotonic() - begin
    assert ran.returncode == 0 and server.answered == ROWS, (ran.returncode, server.answered, ran.stderr[-500:])
    return took, server.refused


def main():
    program = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/etalon").resolve())
    free = None
    print(f"{'rule':<42} {'seconds':>8} {'ratio':>6} {'refused':>8}")
    for name, rule in RULES.items():
        took, refused = run(program, rule)
        at_once, chance, closed, _ = rule
        free = free or took
        # What the rule costs beside what this machine needs without a limit.
        ideal = max(free, ROWS / min(at_once, CONCURRENCY) * TAKES) + closed
        print(f"{name:<42} {took:>8.2f} {took / ideal:>6.2f} {refused / (ROWS + refused):>7.1%}", flush=True)
    for name, word in QUOTAS.items():
        took, refused = run(program, RULES["no limit"], (word,))
        ideal = (ROWS - PER_SECOND) / PER_SECOND
        print(f"{name:<42} {took:>8.2f} {took / ideal:>6.2f} {refused / (ROWS + refused):>7.1%}", flush=True)
    for name in ("no limit", "32 at once", "8 at once"):
        took, refused = run(program, RULES[name], concurrency="auto")
        ideal = max(free, ROWS / min(RULES[name][0], 128) * TAKES)
        print(f"{name + ', concurrency: auto':<42} {took:>8.2f} {took / ideal:>6.2f} {refused / (ROWS + refused):>7.1%}", flush=True)


main()

"""What the benches with a server share: an asyncio server on loopback, in a thread of this process."""

import asyncio
import json
import threading
import time


def serve(answer):
    """Serves connections by the coroutine `answer(reader, writer)`; returns the port."""
    port = []

    async def run():
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=256)
        port.append(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    while not port:
        time.sleep(0.01)
    return port[0]


async def read_request(reader):
    """Returns the body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return await reader.readexactly(int(length.split(b":")[1]))


def workspace(folder, rows, provider, port, fields, stage=""):
    """Writes a pipeline of one model over so many rows; `fields` are those of the model, `stage` of the inference stage."""
    (folder / "etalon.toml").write_text("")
    (folder / "rows.jsonl").write_text("".join(json.dumps({"id": str(n), "q": f"q {n}"}) + "\n" for n in range(rows)))
    model = f'base_url: "http://127.0.0.1:{port}/v1", model: m, revision: "1", {fields}'
    (folder / "p.yaml").write_text(
        "etalon: 1\nname: p\nmodels:\n  m: { provider: " + provider + ", " + model + " }\nstages:\n"
        "  rows: { kind: dataset, path: rows.jsonl, id: id }\n"
        '  answers: { kind: inference, input: rows, models: [m], prompt: "{{ row.q }}"' + stage + " }\n"
    )

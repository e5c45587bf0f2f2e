"""A server that answers at once, faster than any client can ask: what is left is the client's own cost.

    python -m benchmarks.instant_server PORT [--delay-ms 50]

It speaks TGI (/info, /tokenize, /generate) and OpenAI (/v1/models, /v1/completions, /v1/chat/completions). Every answer
is the same: five pairs in the synthesizer's wire format, about 1 kB. GET /stats tells how many were given, and over how
many connections. Nothing is generated here, and nothing about synthesis can be learnt from it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import uvloop

PAIRS = "\n\n".join(
    f"<QUE> What does the text say about item {number} of the list that it gives? <ANS> It says that item {number} was "
    "found near the old mill in the valley, as was reported at the time. </END>"
    for number in range(1, 6)
)
USAGE = {"prompt_tokens": 400, "completion_tokens": 190, "total_tokens": 590}
CHOICE = {"index": 0, "finish_reason": "stop", "logprobs": None}
INFO = {
    "model_id": "instant", "model_sha": "0" * 40, "model_dtype": "float16", "version": "3.3.6", "max_best_of": 1,
    "max_concurrent_requests": 256, "max_input_tokens": 3696, "max_total_tokens": 4096,
}  # fmt: skip
MODELS = {"object": "list", "data": [{"id": "instant", "object": "model", "max_model_len": 4096}]}
COMPLETION = {
    "id": "1", "object": "text_completion", "created": 0, "model": "instant", "usage": USAGE,
    "choices": [{**CHOICE, "text": PAIRS}],
}  # fmt: skip
CHAT = {
    "id": "1", "object": "chat.completion", "created": 0, "model": "instant", "usage": USAGE,
    "choices": [{**CHOICE, "message": {"role": "assistant", "content": PAIRS}}],
}  # fmt: skip


def answer(body: Any, headers: str = "", status: str = "200 OK") -> bytes:
    raw = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


# What TGI's own client asks for, always, at the server's root.
DETAILS = {"finish_reason": "eos_token", "generated_tokens": 190, "seed": None, "prefill": [], "tokens": []}
GENERATED = {
    b"/generate": answer({"generated_text": PAIRS}, "x-prompt-tokens: 400\r\nx-generated-tokens: 190\r\n"),
    b"/": answer([{"generated_text": PAIRS, "details": DETAILS}]),
    b"/v1/completions": answer(COMPLETION),
    b"/v1/chat/completions": answer(CHAT),
}
FIXED = {b"/info": answer(INFO), b"/v1/models": answer(MODELS), b"/health": answer({})}
UNKNOWN = answer({"error": "not found"}, status="404 Not Found")


class Counts:
    answers = 0
    connections = 0


class Connection(asyncio.Protocol):
    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        Counts.connections += 1

    def data_received(self, data: bytes) -> None:
        self.unread += data
        while (end := self.unread.find(b"\r\n\r\n")) >= 0:
            head = self.unread[:end]
            at = head.lower().find(b"content-length:")
            stop = end + 4 + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(self.unread) < stop:
                return
            body, self.unread = self.unread[end + 4 : stop], self.unread[stop:]
            self.serve(head.split(b" ", 2)[1].partition(b"?")[0], body, b"connection: close" in head.lower())

    def send(self, whole: bytes, last: bool) -> None:
        self.transport.write(whole)
        if last:
            self.transport.close()

    def serve(self, path: bytes, body: bytes, last: bool) -> None:
        if path in GENERATED:
            Counts.answers += 1
            whole = GENERATED[path]
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.send, whole, last)
            else:
                self.send(whole, last)
        elif path == b"/tokenize":
            text = json.loads(body)["inputs"]
            literal = len(text) - len(text.replace("<s>", "<s"))
            ids = [1] * (1 + literal) + [5] * (len(text) // 4 + 1)  # a BOS of the server's own, as TGI adds it
            self.send(answer([{"id": one, "text": "", "start": 0, "stop": 0} for one in ids]), last)
        elif path == b"/stats":
            self.send(answer({"answers": Counts.answers, "connections": Counts.connections}), last)
        else:
            self.send(FIXED.get(path, UNKNOWN), last)


async def serve(port: int, delay: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(delay), "127.0.0.1", port, backlog=4096)
    print(f"listening on {port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.delay_ms / 1000))

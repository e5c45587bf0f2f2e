"""Bespoke Curator's LLM with its OpenAI backend; it keeps a file of answers, and is crash-safe but for an fsync."""

from __future__ import annotations

import os
import sys

from clock import guard, read_rows, timed

port, documents, concurrency, folder = sys.argv[1:5]
os.environ |= {
    "CURATOR_CACHE_DIR": f"{folder}/cache", "CURATOR_DISABLE_RICH_DISPLAY": "1", "TELEMETRY_ENABLED": "false",
    "OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hf",
}  # fmt: skip
guard()

import tiktoken  # noqa: E402


class Letters:
    """Stands in for a vocabulary that would be downloaded; this favours the peer a little."""

    name = "letters"

    def encode(self, text: str, **_: object) -> list[int]:
        return [0] * (len(text) // 4)


tiktoken.get_encoding = lambda *_: Letters()
tiktoken.encoding_for_model = lambda *_: Letters()

from bespokelabs import curator  # noqa: E402
from datasets import Dataset  # noqa: E402

rows = read_rows(documents)


class Pairs(curator.LLM):
    def prompt(self, row):
        return f" <CON> {row['text']} </CON>\n\n"

    def parse(self, row, response):
        return {"id": row["id"], "completion": response}


llm = Pairs(
    model_name="instant",
    backend="openai",
    backend_params={
        "base_url": f"http://127.0.0.1:{port}/v1",
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 10_000_000_000,
        "max_concurrent_requests": int(concurrency),
        "api_key": "none",
    },
)
with timed(len(rows)) as found:
    answer = llm(Dataset.from_list(rows))
    found["rows"] = len(getattr(answer, "dataset", answer))

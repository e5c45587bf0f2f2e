"""TGI's own Python client in a loop of worker coroutines, answers written as JSON Lines; no crash safety."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from clock import guard, read_rows, timed
from text_generation import AsyncClient

port, documents, concurrency, folder = sys.argv[1:5]
guard()
rows = read_rows(documents)


async def main() -> int:
    client = AsyncClient(f"http://127.0.0.1:{port}", timeout=60)
    waiting = iter(rows)
    with (Path(folder) / "answers.jsonl").open("w") as out:

        async def work() -> None:
            for row in waiting:
                answer = await client.generate(f"<s> <CON> {row['text']} </CON>\n\n", max_new_tokens=400)
                out.write(json.dumps({**row, "completion": answer.generated_text}) + "\n")

        await asyncio.gather(*(work() for _ in range(int(concurrency))))
    return (Path(folder) / "answers.jsonl").read_text().count("\n")


with timed(len(rows)) as found:
    found["rows"] = asyncio.run(main())

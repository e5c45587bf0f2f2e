"""distilabel: one TextGeneration step over batches as large as the concurrency; MODE cache keeps its cache."""

from __future__ import annotations

import os
import sys

from clock import guard, read_rows, timed

port, documents, concurrency, folder = sys.argv[1:5]
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hf", "HOME": folder}
guard()

from distilabel.models import OpenAILLM  # noqa: E402
from distilabel.pipeline import Pipeline  # noqa: E402
from distilabel.steps import LoadDataFromDicts  # noqa: E402
from distilabel.steps.tasks import TextGeneration  # noqa: E402

if __name__ == "__main__":
    rows = read_rows(documents)
    with Pipeline(name="instant", cache_dir=f"{folder}/cache") as pipeline:
        load = LoadDataFromDicts(
            data=[{"instruction": f" <CON> {row['text']} </CON>\n\n", "id": row["id"]} for row in rows],
            batch_size=int(concurrency),
        )
        generate = TextGeneration(
            llm=OpenAILLM(model="instant", base_url=f"http://127.0.0.1:{port}/v1", api_key="none"),
            input_batch_size=int(concurrency),
        )
        load >> generate
    with timed(len(rows)) as found:
        distiset = pipeline.run(use_cache=True)
        found["rows"] = len(distiset["default"]["train"])

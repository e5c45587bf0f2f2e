"""datatrove's InferenceRunner on an endpoint of this machine; MODE ckpt keeps its checkpoints, nockpt does not."""

from __future__ import annotations

import sys
from pathlib import Path

from clock import guard, read_rows, timed
from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter

port, documents, concurrency, folder, mode = sys.argv[1:6]
guard()
rows = read_rows(documents)


async def rollout(document, generate):
    answer = await generate({"prompt": f" <CON> {document.text} </CON>\n\n", "max_tokens": 400, "temperature": 0.0})
    return {"text": answer.text}


config = InferenceConfig(
    server_type="endpoint", endpoint_url=f"http://localhost:{port}", model_name_or_path="instant",
    use_chat=False, max_concurrent_generations=int(concurrency), max_concurrent_documents=int(concurrency),
    metric_interval=3600,
)  # fmt: skip
checkpoints = {"checkpoints_local_dir": f"{folder}/checkpoints", "records_per_chunk": 1000} if mode == "ckpt" else {}
name = "${rank}_chunk_${chunk_index}.jsonl" if checkpoints else "${rank}.jsonl"
writer = JsonlWriter(f"{folder}/out", output_filename=name, compression=None)
runner = InferenceRunner(rollout_fn=rollout, config=config, output_writer=writer, **checkpoints)
with timed(len(rows)) as found:
    for _ in runner.run((Document(text=row["text"], id=row["id"]) for row in rows), rank=0, world_size=1) or ():
        pass
    found["rows"] = sum(path.read_text().count("\n") for path in Path(folder, "out").rglob("*.jsonl"))

"""The model in this process: the local engine against one prompt at a time, and against batches in arrival order.

    python -m benchmarks.in_process [--documents 192] [--longest 2000] [--model PATH] [--rounds 3] …

All three get the same prompts, model and limits, greedily, and must give the same texts. `one at a time` is what the
published script does; `arrival order` pads batches of 32 as they come, and waits for the slowest of each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pydoc_data.topics
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from hub_instructpt.engines.local import TINY_SYNTHESIZER, LocalEngine
from hub_instructpt.engines.local_model import LocalModel, load
from hub_instructpt.markup import format_prompt
from hub_instructpt.records import SamplingParams

BATCH = 32
RESULTS = Path(__file__).parent / "results"


def prompts_of(number: int, longest: int = 2000) -> list[str]:
    """Real texts of 200 to `longest` characters, in no order of length."""
    texts = [text.strip() for _, text in sorted(pydoc_data.topics.topics.items())]
    cut = [text[: 200 + (i * 397) % (longest - 200)] for i, text in enumerate(texts * (number // len(texts) + 1))]
    return [format_prompt(text) for text in cut[:number]]


def one_at_a_time(model: LocalModel, prompts: list[str], sampling: SamplingParams) -> list[str]:
    return [completion.text for prompt in prompts for _, completion in model.generate([model.encode(prompt)], sampling)]


def arrival_order(model: LocalModel, prompts: list[str], sampling: SamplingParams) -> list[str]:
    ids = [model.encode(prompt) for prompt in prompts]
    batches = [ids[at : at + BATCH] for at in range(0, len(ids), BATCH)]
    return [completion.text for batch in batches for _, completion in sorted(model.generate(batch, sampling))]


def local_engine(path: str, prompts: list[str], sampling: SamplingParams) -> tuple[list[str], float, float]:
    """Texts, wall and CPU seconds; loading is left out, as it is for the others."""

    async def main() -> tuple[list[str], float, float]:
        engine = LocalEngine(path, batch_size=BATCH)
        await engine.connect()
        began, spent = time.perf_counter(), time.process_time()
        completions = await asyncio.gather(*(engine.complete(prompt, sampling) for prompt in prompts))
        took = time.perf_counter() - began, time.process_time() - spent
        await engine.aclose()
        return [completion.text for completion in completions], *took

    return asyncio.run(main())


def timed(work: Callable[[], list[str]]) -> tuple[list[str], float, float]:
    began, spent = time.perf_counter(), time.process_time()
    texts = work()
    return texts, time.perf_counter() - began, time.process_time() - spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=str(TINY_SYNTHESIZER))
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--longest", type=int, default=2000, help="characters")
    parser.add_argument("--device", default=None)
    given = parser.parse_args()
    sampling = SamplingParams(given.max_new_tokens)
    prompts = prompts_of(given.documents, given.longest)
    model = load(given.model, None, given.device)
    runs: dict[str, list[tuple[float, float]]] = {"one at a time": [], "arrival order": [], "local engine": []}
    different = 0
    for _ in range(given.rounds):
        found = {
            "one at a time": timed(lambda: one_at_a_time(model, prompts, sampling)),
            "arrival order": timed(lambda: arrival_order(model, prompts, sampling)),
            "local engine": local_engine(given.model, prompts, sampling),
        }
        for name, (_, wall, cpu) in found.items():
            runs[name].append((wall, cpu))
        different += sum(a != b for a, b in zip(found["one at a time"][0], found["local engine"][0], strict=True))
    medians = {name: [statistics.median(column) for column in zip(*taken, strict=True)] for name, taken in runs.items()}
    print("| method | documents/s | CPU ms a document | the engine is faster by (CPU) |\n|---|---|---|---|")
    for name, (wall, cpu) in medians.items():
        ratio = cpu / medians["local engine"][1]
        print(f"| {name} | {len(prompts) / wall:.1f} | {1000 * cpu / len(prompts):.1f} | {ratio:.2f} |")
    print(f"\n{different} of {given.rounds * len(prompts)} texts differ from those made one at a time.")
    RESULTS.mkdir(exist_ok=True)
    kept = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "runs": runs, "different": different}
    path = RESULTS / f"in-process-{given.longest}-{time.strftime('%Y-%m-%d')}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()

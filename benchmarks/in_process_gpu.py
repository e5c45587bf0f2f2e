"""On a GPU: continuous batching as transformers has it, against padded batches sorted by length.

    python -m benchmarks.in_process_gpu --model PATH_OR_ID [--device cuda] [--documents 512] [--max-new-tokens 400]

The better of the two is what the local engine should do on that device. On a CPU this runs too, with a tiny model, but
says nothing about a GPU.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.in_process import BATCH, prompts_of
from hub_instructpt.engines.local import TINY_SYNTHESIZER
from hub_instructpt.engines.local_model import LocalModel, load
from hub_instructpt.records import SamplingParams


def padded(model: LocalModel, ids: list[list[int]], sampling: SamplingParams, batch: int) -> int:
    """Length-sorted, left-padded batches; the number of tokens generated."""
    order = sorted(ids, key=len, reverse=True)
    batches = [order[at : at + batch] for at in range(0, len(order), batch)]
    return sum(done.generated_tokens or 0 for each in batches for _, done in model.generate(each, sampling))


def continuous(model: LocalModel, ids: list[list[int]], sampling: SamplingParams, batch: int) -> int:
    """transformers' `generate_batch`; the number of tokens generated."""
    from transformers import GenerationConfig

    config: Any = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens, do_sample=False, eos_token_id=list(model.eos_ids),
        pad_token_id=model.tokenizer.pad_token_id, max_requests_per_batch=batch,
    )  # fmt: skip
    done = model.model.generate_batch(ids, generation_config=config, progress_bar=False)
    return sum(len(each.generated_tokens) for each in done.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(TINY_SYNTHESIZER))
    parser.add_argument("--device", default=None)
    parser.add_argument("--documents", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--batches", default=f"{BATCH},128")
    given = parser.parse_args()
    model = load(given.model, None, given.device)
    sampling = SamplingParams(given.max_new_tokens)
    ids = [model.encode(prompt) for prompt in prompts_of(given.documents)]
    print(f"{model.model.device}, {model.dtype}, {model.version}\n")
    print("| method | at a time | documents/s | tokens/s |\n|---|---|---|---|")
    for batch in map(int, given.batches.split(",")):
        for name, work in (("padded, sorted by length", padded), ("continuous batching", continuous)):
            began = time.perf_counter()
            tokens = work(model, ids, sampling, batch)
            took = time.perf_counter() - began
            print(f"| {name} | {batch} | {len(ids) / took:.1f} | {tokens / took:,.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""Measures a synthesizer folder on held-out contexts: does it write pairs, and do its answers stand in the text.

    python -m training.evaluate_tiny --data DATA --model hub_instructpt/tiny_synthesizer

Keeps true: only evaluation splits are read; decoding is greedy; completions are parsed by the published rule.
Does not know: whether a pair is right: a literal answer can answer another question than the one it stands beside. Nor
yes-or-no questions; one asks, here, by a word like "what".
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import corpus, english

SETS = ("squad_dev", "fairytaleqa_test", "ropes_dev")


def parse(completion: str) -> tuple[list[tuple[str, str]], int]:
    """The pairs, and how many well-formed pieces were dropped because their question had come before."""
    pieces = completion.split("</END>")
    if not completion.strip().endswith("</END>"):
        pieces = pieces[:-1]
    pairs: list[tuple[str, str]] = []
    seen: set[str] = set()
    repeated = 0
    for piece in pieces:
        halves = piece.split("<ANS>")
        if len(halves) != 2 or not halves[0].strip().startswith("<QUE>"):
            continue
        question, answer = halves[0].strip().removeprefix("<QUE>").strip(), halves[1].strip()
        if not question or not answer:
            continue
        if question.casefold() in seen:
            repeated += 1
            continue
        seen.add(question.casefold())
        pairs.append((question, answer))
    return pairs, repeated


@torch.inference_mode()  # type: ignore[untyped-decorator]
def complete(model: Any, tokenizer: Any, contexts: list[str], new_tokens: int, batch: int) -> list[str]:
    """Greedy completions in the order of the contexts; batches of like length, padded on the left."""
    prompts = [f"<s> <CON> {context.strip()} </CON>\n\n" for context in contexts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    completions = [""] * len(prompts)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        inputs = tokenizer(
            [prompts[i] for i in rows], return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        )
        inputs.pop("token_type_ids", None)
        out = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        texts = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, text in zip(rows, texts, strict=True):
            completions[i] = text
    return completions


def figures(contexts: list[str], completions: list[str]) -> dict[str, float | int]:
    parsed = [parse(completion) for completion in completions]
    pairs = [
        (context, question, answer)
        for context, (found, _) in zip(contexts, parsed, strict=True)
        for question, answer in found
    ]
    repeated = sum(count for _, count in parsed)
    literal = sum(corpus.fold(answer) in corpus.fold(context) for context, _, answer in pairs)
    mute = sum(not english.ASKS.search(question) for _, question, _ in pairs)
    return {
        "contexts": len(contexts),
        "with a pair": round(sum(bool(found) for found, _ in parsed) / len(contexts), 4),
        "with two pairs": round(sum(len(found) > 1 for found, _ in parsed) / len(contexts), 4),
        "pairs a context": round(len(pairs) / len(contexts), 2),
        "literal answers": round(literal / max(1, len(pairs)), 4),
        "repeated questions": round(repeated / max(1, repeated + len(pairs)), 4),
        "questions that do not ask": round(mute / max(1, len(pairs)), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--contexts", type=int, default=300, help="contexts of each set at most, drawn with seed 0")
    parser.add_argument("--new-tokens", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="completions to print for each set")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    records = corpus.held_out_records(args.data)
    for name in args.sets:
        contexts = sorted({record["context"] for record in records[name]})
        contexts = random.Random(0).sample(contexts, min(args.contexts, len(contexts)))
        started = time.monotonic()
        completions = complete(model, tokenizer, contexts, args.new_tokens, args.batch)
        found = figures(contexts, completions)
        print(json.dumps({"set": name, **found, "seconds": round(time.monotonic() - started, 1)}), flush=True)
        for context, completion in list(zip(contexts, completions, strict=True))[: args.show]:
            print(f"--- {context[:400]}\n>>> {completion}\n")


if __name__ == "__main__":
    main()

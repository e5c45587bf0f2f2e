"""Trains the bundled tiny synthesizer: a small Llama that turns a context into instruction-response pairs.

    python -m training.tiny_synthesizer --data DATA --out hub_instructpt/tiny_synthesizer --minutes 60 --seed 0

Keeps true: the schedule follows the clock, so a slow machine gives a less trained model, never an unfinished one; the
output folder is replaced whole, by a rename, or not touched.
Does not know: how good the model is (see `training.evaluate_tiny`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from training import corpus
from training.examples import FURTHER, STAGES, Source
from training.export import install
from training.grow import grow
from training.model import POSITIONS, build_model, build_optimizer, loss_of, rate_at
from training.start import head_start
from training.tokenizer import train_tokenizer

# One thread in each of several processes that average their gradients: on a shared machine two threads of one process
# wait for each other at every small matrix product, and lost nine tenths of their speed to it.


def prepare(data: Path, vocab: int, trained: Path | None) -> tuple[Tokenizer, Source]:
    held_out = corpus.held_out_keys(data)
    texts = corpus.training_texts(data, held_out)
    asked = [
        f"{qa['Q']} {qa['A']}"
        for rows in corpus.training_records(data, held_out).values()
        for row in rows
        for qa in row["QA_list"]
    ]
    if trained:
        tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    else:
        tokenizer = train_tokenizer([*texts, *asked], vocab)
    return tokenizer, Source(data, tokenizer, texts, held_out)


def starting_model(args: argparse.Namespace, tokenizer: Tokenizer, source: Source) -> LlamaForCausalLM:
    torch.manual_seed(args.seed)
    if not args.start:
        model = build_model(tokenizer.get_vocab_size(), args.hidden, args.layers, args.heads, args.inner)
        head_start(model)
        return model
    model = LlamaForCausalLM.from_pretrained(args.start, dtype=torch.float32)
    return grow(model, source.frequencies()) if args.grow else model


def worker(
    rank: int,
    args: argparse.Namespace,
    tokenizer: Tokenizer,
    source: Source,
    model: LlamaForCausalLM,
    shared: torch.Tensor,
    meet: Barrier,
) -> None:
    """Trains one replica; all replicas start alike and take the same steps. `shared` has two slots for each rank."""
    torch.set_num_threads(1)
    model.train()
    stages = FURTHER if args.start else STAGES
    parameters = list(model.parameters())
    optimizer = build_optimizer(model, args.rate)
    torch.manual_seed(args.seed * 1000 + rank)
    source.rng = random.Random(args.seed * 1000 + rank)
    began = saved = time.monotonic()
    step = seen = 0
    share, means = 0.0, torch.zeros(3)
    while share < 1.0:
        stage = next(stage for stage in stages if share < stage.until)
        for ids, weights, points in source.batches(stage, args.tokens, POSITIONS):
            loss, *losses = loss_of(model, ids, weights, points, args.stutter, args.guide)
            loss.backward()
            slots = shared[step % 2]  # the other slot may still be read by a slower process
            slots[rank, :-5] = torch.cat([value.grad.reshape(-1) for value in parameters])
            slots[rank, -5:] = torch.tensor([(time.monotonic() - began) / args.seconds, *losses, ids.numel()])
            meet.wait()
            mean_of = slots.mean(0)
            share = mean_of[-5].item()
            seen += int(mean_of[-1].item() * len(slots))
            at = 0
            for value in parameters:
                value.grad.copy_(mean_of[at : at + value.numel()].view_as(value))
                at += value.numel()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for group in optimizer.param_groups:
                group["lr"] = rate_at(share, args.rate)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            means = mean_of[-4:-1] if step == 1 else 0.97 * means + 0.03 * mean_of[-4:-1]
            if rank == 0 and step % 25 == 0:
                speed = seen / (time.monotonic() - began)
                pairs, first, pointed = means.tolist()
                state = (
                    f"step {step} share {share:.3f} pairs {pairs:.3f} answers' first {first:.3f} pointing {pointed:.3f}"
                )
                print(f"{state} tokens {seen} tokens/s {speed:.0f}", flush=True)
            if rank == 0 and args.checkpoint and time.monotonic() - saved > 240:
                saved = time.monotonic()
                install(model, tokenizer, args.checkpoint)
            if share >= 1.0:
                break
    if rank == 0:
        install(model, tokenizer, args.out)
        minutes = (time.monotonic() - began) / 60
        print(f"done: {step} steps, {seen} tokens, {minutes:.1f} minutes of training", flush=True)


def train(args: argparse.Namespace) -> None:
    started = time.monotonic()
    tokenizer, source = prepare(args.data, args.vocab, args.start)
    model = starting_model(args, tokenizer, source)
    count = sum(value.numel() for value in model.parameters())
    sets = {name: [len(rows), sum(len(row.pairs) for row in rows)] for name, rows in source.sets.items()}
    print(json.dumps({"parameters": count, "raw texts": len(source.raw), "contexts, pairs": sets}), flush=True)
    args.seconds = args.minutes * 60 - (time.monotonic() - started)
    context = multiprocessing.get_context("fork")  # the prepared source is large and only read
    shared = torch.zeros((2, args.processes, count + 5)).share_memory_()
    meet = context.Barrier(args.processes, timeout=900)
    common = (args, tokenizer, source, model, shared, meet)
    workers = [context.Process(target=worker, args=(rank, *common)) for rank in range(args.processes)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    if any(process.exitcode for process in workers):
        raise SystemExit("a training process failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder for each dataset")
    parser.add_argument("--out", type=Path, required=True, help="model folder, replaced at the end")
    parser.add_argument("--checkpoint", type=Path, help="model folder, replaced every four minutes")
    parser.add_argument("--start", type=Path, help="go on from this model folder, on question sets only")
    parser.add_argument("--grow", action="store_true", help="widen that model by one head, and let it look things up")
    parser.add_argument("--guide", type=float, default=0.0, help="weight of showing two heads where answers stand")
    parser.add_argument("--stutter", type=float, default=0.0, help="share of the pairs' tokens shown wrong")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--inner", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--tokens", type=int, default=1024, help="tokens in a batch of one process")
    torch.set_num_threads(1)  # no thread pool before the fork
    train(parser.parse_args())


if __name__ == "__main__":
    main()

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
from safetensors.torch import load_file
from tokenizers import Tokenizer

from training import corpus
from training.examples import FURTHER, STAGES, Source
from training.export import install
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


def worker(
    rank: int, args: argparse.Namespace, tokenizer: Tokenizer, source: Source, shared: torch.Tensor, meet: Barrier
) -> None:
    """Trains one replica; all replicas start alike and take the same steps. `shared` has two slots for each rank."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    model = build_model(tokenizer.get_vocab_size(), args.hidden, args.layers, args.heads, args.inner).train()
    head_start(model)
    if args.start:
        model.load_state_dict(load_file(str(args.start / "model.safetensors")), strict=False)  # the head is tied
    stages = FURTHER if args.start else STAGES
    parameters = list(model.parameters())
    optimizer = build_optimizer(model, args.rate)
    torch.manual_seed(args.seed * 1000 + rank)
    source.rng = random.Random(args.seed * 1000 + rank)
    began = saved = time.monotonic()
    step = seen = 0
    share = mean = 0.0
    while share < 1.0:
        stage = next(stage for stage in stages if share < stage.until)
        for ids, weights in source.batches(stage, args.tokens, POSITIONS):
            loss, written = loss_of(model, ids, weights, args.stutter)
            loss.backward()
            slots = shared[step % 2]  # the other slot may still be read by a slower process
            slots[rank, :-3] = torch.cat([value.grad.reshape(-1) for value in parameters])
            slots[rank, -3:] = torch.tensor([(time.monotonic() - began) / args.seconds, written, ids.numel()])
            meet.wait()
            mean_of = slots.mean(0)
            share, written = mean_of[-3].item(), mean_of[-2].item()
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
            mean = written if step == 1 else 0.97 * mean + 0.03 * written
            if rank == 0 and step % 100 == 0:
                speed = seen / (time.monotonic() - began)
                state = f"step {step} share {share:.3f} pairs-loss {mean:.3f}"
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
    model = build_model(tokenizer.get_vocab_size(), args.hidden, args.layers, args.heads, args.inner)
    count = sum(value.numel() for value in model.parameters())
    sets = {name: [len(rows), sum(len(row.pairs) for row in rows)] for name, rows in source.sets.items()}
    print(json.dumps({"parameters": count, "raw texts": len(source.raw), "contexts, pairs": sets}), flush=True)
    args.seconds = args.minutes * 60 - (time.monotonic() - started)
    context = multiprocessing.get_context("fork")  # the prepared source is large and only read
    shared = torch.zeros((2, args.processes, count + 3)).share_memory_()
    meet = context.Barrier(args.processes, timeout=900)
    common = (args, tokenizer, source, shared, meet)
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

"""Trains a tiny synthesizer: a small decoder that turns a context into instruction-response pairs.

    python -m training.tiny_synthesizer --data DATA --out OUT --minutes 90 --seed 0

Keeps true: the schedule follows the clock, so a slow machine gives a less trained model, never an unfinished one; the
output folder is replaced whole, by a rename, or not touched.
Does not know: how good the model is (see `training.evaluate_tiny`).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import OPTForCausalLM

from training import corpus
from training.encoder import from_encoder, packaged_encoder
from training.examples import FURTHER, STAGES, Source
from training.export import install
from training.model import build_optimizer, loss_of, rate_at
from training.start import head_start
from training.tokenizer import train_tokenizer

POSITIONS = 2048


def prepare(data: Path, vocab: int, start: Path | None) -> tuple[Tokenizer, Source]:
    held_out = corpus.held_out_keys(data)
    texts = corpus.training_texts(data, held_out)
    records = corpus.training_records(data, held_out)
    asked = [f"{qa['Q']} {qa['A']}" for rows in records.values() for row in rows for qa in row["QA_list"]]
    kept = start and Tokenizer.from_file(str(start / "tokenizer.json"))
    tokenizer = kept or train_tokenizer([*texts, *asked], vocab)
    return tokenizer, Source(tokenizer, records, texts)


def starting_model(args: argparse.Namespace, tokenizer: Tokenizer, source: Source) -> OPTForCausalLM:
    if args.start:
        return OPTForCausalLM.from_pretrained(args.start, dtype=torch.float32)
    frequencies = source.frequencies()
    encoder = args.encoder or packaged_encoder()
    model = from_encoder(encoder, tokenizer, frequencies, args.layers, args.narrow, POSITIONS)
    answer = tokenizer.token_to_id("<ANS>")
    assert answer is not None
    head_start(model, source.answered(STAGES[1], 160), frequencies, answer)
    return model


def train(
    model: OPTForCausalLM, tokenizer: Tokenizer, source: Source, args: argparse.Namespace, seconds: float
) -> None:
    model.train()
    optimizer = build_optimizer(model, args.rate)
    began = saved = time.monotonic()
    step = tokens = 0
    share, means = 0.0, dict[str, float]()
    stages = FURTHER if args.start else STAGES
    while share < 1.0:
        stage = next(stage for stage in stages if share < stage.until)
        model.model.decoder.dropout = stage.dropout
        for layer in model.model.decoder.layers:
            layer.dropout = stage.dropout
        for ids, weights, points in source.batches(stage, args.tokens, POSITIONS):
            share = (time.monotonic() - began) / seconds
            for group in optimizer.param_groups:
                group["lr"] = rate_at(share, group["peak"])
            loss, losses = loss_of(model, ids, weights, points, args.stutter, args.guide)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step, tokens = step + 1, tokens + ids.numel()
            means = {name: 0.97 * means.get(name, value) + 0.03 * value for name, value in losses.items()}
            if step % 20 == 0:
                state = " ".join(f"{name} {value:.3f}" for name, value in means.items())
                speed = tokens / (time.monotonic() - began)
                print(f"step {step} share {share:.3f} {state} tokens {tokens} tokens/s {speed:.0f}", flush=True)
            if args.checkpoint and time.monotonic() - saved > 240:
                saved = time.monotonic()
                install(model, tokenizer, args.checkpoint, torch.float32)
            if share >= 1.0:
                break
    minutes = (time.monotonic() - began) / 60
    print(f"done: {step} steps, {tokens} tokens, {minutes:.1f} minutes of training", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder for each dataset")
    parser.add_argument("--out", type=Path, required=True, help="model folder, replaced at the end")
    parser.add_argument("--checkpoint", type=Path, help="model folder, replaced every four minutes, in full precision")
    parser.add_argument("--encoder", type=Path, help="a BERT to start from; by default the one of the package")
    parser.add_argument("--start", type=Path, help="go on from this model folder, a checkpoint for example")
    parser.add_argument("--guide", type=float, default=1.0, help="weight of showing some heads where answers stand")
    parser.add_argument("--stutter", type=float, default=0.04, help="share of the pairs' tokens shown wrong")
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=11264)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--narrow", type=int, default=192, help="width of a token's embedding")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens in a batch")
    args = parser.parse_args()
    began = time.monotonic()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer, source = prepare(args.data, args.vocab, args.start)
    source.rng = random.Random(args.seed)
    model = starting_model(args, tokenizer, source)
    sets = {name: [len(rows), sum(len(row.pairs) for row in rows)] for name, rows in source.sets.items()}
    print(
        json.dumps({"parameters": model.num_parameters(), "raw texts": len(source.raw), "contexts, pairs": sets}),
        flush=True,
    )
    seconds = args.minutes * 60 - (time.monotonic() - began)
    if seconds <= 0:
        parser.error(f"the {args.minutes:g} minutes were over before there was anything to train; give more")
    train(model, tokenizer, source, args, seconds)
    install(model, tokenizer, args.out)


if __name__ == "__main__":
    main()

"""Trains a tiny synthesizer: a small decoder that turns a context into instruction-response pairs.

    python -m training.tiny_synthesizer --data DATA --out OUT --minutes 130 --seed 0

Keeps true: the schedule follows the time trained, so a slow machine gives a less trained model, never an unfinished
one; the same command goes on where one that was stopped had been a few minutes before; the output folder is replaced
whole, by a rename, or not touched.
Does not know: how good the model is (see `training.evaluate_tiny`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import OPTForCausalLM

from training import corpus
from training.encoder import from_encoder, packaged_encoder
from training.examples import STAGES, Source
from training.export import install
from training.model import build_optimizer
from training.run import Run
from training.start import head_start
from training.tokenizer import train_tokenizer

POSITIONS = 2048
SETTINGS = ("guide", "stutter", "seed", "layers", "narrow", "rate", "tokens")  # not the minutes: a run may be prolonged


def prepare(data: Path, vocab: int) -> tuple[Tokenizer, Source]:
    held_out = corpus.held_out_keys(data)
    texts = corpus.training_texts(data, held_out)
    records = corpus.training_records(data, held_out)
    asked = [f"{qa['Q']} {qa['A']}" for rows in records.values() for row in rows for qa in row["QA_list"]]
    tokenizer = train_tokenizer([*texts, *asked], vocab)
    return tokenizer, Source(tokenizer, records, texts)


def starting_model(args: argparse.Namespace, tokenizer: Tokenizer, source: Source) -> OPTForCausalLM:
    frequencies = source.frequencies()
    encoder = args.encoder or packaged_encoder()
    model = from_encoder(encoder, tokenizer, frequencies, args.layers, args.narrow, POSITIONS)
    answer = tokenizer.token_to_id("<ANS>")
    assert answer is not None
    head_start(model, source.answered(STAGES[1], 160), frequencies, answer)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder for each dataset")
    parser.add_argument("--out", type=Path, required=True, help="model folder, replaced at the end")
    parser.add_argument("--checkpoint", type=Path, help="where to go on from when stopped; by default OUT.run")
    parser.add_argument("--encoder", type=Path, help="a BERT to start from; by default the one of the package")
    parser.add_argument("--guide", type=float, default=1.0, help="weight of showing some heads where answers stand")
    parser.add_argument("--stutter", type=float, default=0.04, help="share of the pairs' tokens shown wrong")
    parser.add_argument("--minutes", type=float, default=130.0, help="of training; some are needed before it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=11264)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--narrow", type=int, default=192, help="width of a token's embedding")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens in a batch")
    args = parser.parse_args()
    args.checkpoint = args.checkpoint or args.out.with_name(args.out.name + ".run")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer, source = prepare(args.data, args.vocab)
    source.rng = random.Random(args.seed)
    model = starting_model(args, tokenizer, source)
    settings = {f"--{name}": str(getattr(args, name)) for name in SETTINGS}
    settings["tokenizer"] = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()  # other data make another
    run = Run(model, build_optimizer(model, args.rate), settings)
    if args.checkpoint.exists():
        try:
            run.go_on_from(args.checkpoint)
        except ValueError as error:
            parser.error(str(error))
        # Not as at the beginning: what was drawn then would only be drawn again.
        torch.manual_seed(args.seed + run.steps)
        source.rng = random.Random(args.seed + run.steps)
    sets = {name: [len(rows), sum(len(row.pairs) for row in rows)] for name, rows in source.sets.items()}
    counts = {"parameters": model.num_parameters(), "raw texts": len(source.raw), "contexts, pairs": sets}
    print(json.dumps(counts | {"minutes before": round(run.seconds / 60, 1)}), flush=True)
    run.train(source, 60 * args.minutes, args.checkpoint, args.tokens, POSITIONS, args.stutter, args.guide)
    install(model, tokenizer, args.out)


if __name__ == "__main__":
    main()

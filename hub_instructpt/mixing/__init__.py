"""Mixing: runs, raw corpora, instruction sets and fine-tuning collections become one pre-training corpus.

    parts      what a part is called on the command line
    forms      what a part turns out to be, and its rows as texts
    streams    the texts of a part, shuffled, as often as they are asked for
    schedule   which part comes next, so that proportions hold at every prefix
    tokens     counting and encoding by the base model's tokenizer
    shards     sealed shards of texts, and of packed sequences
    mixer      one pass over all of it, and on from where a killed one was
    manifest   what was asked for, what was reached, and every sealed shard
    card       the dataset card

    DIR/data/train-00000.parquet     text, source, num_tokens
    DIR/packed/train-00000.parquet   input_ids, when packed
    DIR/manifest.json, DIR/README.md, DIR/.lock as in a run

Keeps true: one streaming pass in flat memory; the same parts, settings and seed give the same bytes.
Does not know engines, or the Hub's API.
"""

"""Runs: a source of rows becomes sealed shards and a manifest, and a killed run goes on where it was.

    DIR/data/train-00000.parquet   a sealed shard: whole, or not there
    DIR/manifest.json              what was asked for, and every sealed shard with its rows, bytes and sha256
    DIR/journal/train-00001.jsonl  what the engine has answered for a shard that is not sealed yet
    DIR/README.md                  the dataset card (written by the room above)
    DIR/.lock                      held by the one process that writes here

In an object store a run looks the same (remote.py); the process works in a local directory, which is mirrored there
(mirror.py).

Keeps true: written last means done. A shard is written to a temporary file, synced and renamed; then the manifest.
"""

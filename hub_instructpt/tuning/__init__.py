"""The synthesizer itself: a causal LM is tuned into one, and any engine that serves one is measured.

    collection ─► parts ─► split ─► encoding ─► store ─► packing ─► training ─► DIR: model, card, tuning.json
    collection ─► parts ─► sampling ─► asking an engine ─► metrics ─► scores: table, JSON, plot

Keeps true: importing it loads neither torch nor transformers; measuring needs neither, where a server is measured.
Does not know the Hub, or how a collection is made.
"""

"""Tokenizers that treat the bar between context and pairs in different ways, made here from nothing.

bundled()    that of the tiny synthesizer: BOS and EOS, markers are tokens
greedy()     byte-level; joins a blank line and the `<` after it, across the bar; BOS and EOS are the same
pieces()     words with a leading sign for a blank, which also stands before a text's first word
"""

from __future__ import annotations

from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from hub_instructpt.engines.local import TINY_SYNTHESIZER


def bundled() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY_SYNTHESIZER)


def greedy() -> Any:
    """`Ċ` is a line's end, as byte-level tokenizers write it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), ("ĊĊ", "<"), ("Ġ", "<"), ("E", "N")]
    words = [*alphabet, *("".join(pair) for pair in merges)]
    raw = tokenizers.Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    return _loaded(raw, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def pieces() -> Any:
    """As tokenizers made with SentencePiece have it."""
    letters = [chr(code) for code in range(33, 127)] + ["▁", "\n", "é"]
    raw = tokenizers.Tokenizer(models.BPE({"<unk>": 0} | {each: at for at, each in enumerate(letters, 1)}, [],
                                          unk_token="<unk>", fuse_unk=False))  # fmt: skip
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return _loaded(raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _loaded(raw: Any, **special: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=raw, clean_up_tokenization_spaces=False, **special)

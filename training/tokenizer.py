"""The tiny synthesizer's tokenizer: a byte-level BPE trained on the training texts.

Keeps true: decoding gives back the text; the pair markers are single tokens and not special, so decoders that skip
special tokens keep them; `<s>` is put in front when special tokens are asked for, as Llama's tokenizer does.
Does not know: the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
MARKERS = ("<CON>", "</CON>", "<QUE>", "<ANS>", "</END>")
FIRST_PLAIN = len(SPECIAL) + len(MARKERS)  # the ids below are special tokens and markers


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL, *MARKERS],  # reserves the first ids; which of them are special is said below
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # The trainer marks every reserved token special, and a decoder that skips special tokens would lose the markers.
    state = json.loads(tokenizer.to_str())
    for token in state["added_tokens"]:
        token["special"] = token["content"] in SPECIAL
    tokenizer = Tokenizer.from_str(json.dumps(state))
    assert not any(token.special for token in tokenizer.get_added_tokens_decoder().values() if _is_marker(token))
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", bos)]
    )
    return tokenizer


def _is_marker(token: AddedToken) -> bool:
    return token.content in MARKERS


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Writes the two files by hand: the class name is one that transformers 4 and 5 both know."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

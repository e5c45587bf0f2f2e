"""Writes a trained model as the folder that transformers, TGI and vLLM load.

Keeps true: the folder is replaced by a rename; hand-written files in it (its README) are carried over; the
configuration uses only keys that transformers 4 and 5 both read.
Does not know: training.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import OPTForCausalLM

from training.model import STORED
from training.tokenizer import save_tokenizer


def install(model: OPTForCausalLM, tokenizer: Tokenizer, folder: Path, stored: torch.dtype = STORED) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    c = model.config
    names = (
        "vocab_size", "hidden_size", "word_embed_proj_dim", "num_hidden_layers", "num_attention_heads", "ffn_dim",
        "max_position_embeddings", "do_layer_norm_before", "activation_function", "bos_token_id", "eos_token_id",
        "pad_token_id",
    )  # fmt: skip
    config = {"architectures": ["OPTForCausalLM"], "model_type": "opt"} | {name: getattr(c, name) for name in names}
    config |= {"dropout": 0.0, "attention_dropout": 0.0, "tie_word_embeddings": True, "use_cache": True}
    # The file holds bytes, which nothing computes with: without a word here they would be taken as the type to use.
    config |= {"torch_dtype": "float32"}
    generation = {
        "bos_token_id": c.bos_token_id,
        "eos_token_id": c.eos_token_id,
        "pad_token_id": c.pad_token_id,
        "do_sample": False,
        "max_new_tokens": 400,
    }
    for name, value in (("config.json", config), ("generation_config.json", generation)):
        (fresh / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    tensors = {name: value.to(stored).contiguous() for name, value in model.state_dict().items()}
    tensors.pop("lm_head.weight", None)  # tied to the embeddings
    save_file(tensors, str(fresh / "model.safetensors"), metadata={"format": "pt"})
    (fresh / "model.safetensors").chmod(0o644)  # the writer leaves it private to its owner
    save_tokenizer(tokenizer, fresh, c.max_position_embeddings)
    if folder.exists():
        for kept in folder.glob("*.md"):
            shutil.copy2(kept, fresh / kept.name)
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)

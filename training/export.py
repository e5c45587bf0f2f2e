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
from transformers import LlamaForCausalLM

from training.tokenizer import save_tokenizer


def install(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    c = model.config
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.num_hidden_layers,
        "num_attention_heads": c.num_attention_heads,
        "num_key_value_heads": c.num_key_value_heads,
        "hidden_act": "silu",
        "rms_norm_eps": c.rms_norm_eps,
        "rope_theta": 10000.0,
        "max_position_embeddings": c.max_position_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "initializer_range": c.initializer_range,
        "bos_token_id": c.bos_token_id,
        "eos_token_id": c.eos_token_id,
        "pad_token_id": c.pad_token_id,
        "torch_dtype": "float16",
        "use_cache": True,
    }
    generation = {
        "bos_token_id": c.bos_token_id,
        "eos_token_id": c.eos_token_id,
        "pad_token_id": c.pad_token_id,
        "do_sample": False,
        "max_new_tokens": 400,
    }
    for name, value in (("config.json", config), ("generation_config.json", generation)):
        (fresh / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    tensors = {name: value.to(torch.float16).contiguous() for name, value in model.state_dict().items()}
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

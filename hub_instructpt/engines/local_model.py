"""A causal LM of transformers, loaded: tokens of a text, and completions of a batch of prompts.

Keeps true: nothing but what was asked for decides how tokens are drawn, whatever the model's own generation config
says; everything that can be wrong with a model is an `EngineUnavailable` with the next thing to do.
Does not know event loops, queues or what the texts are. Importing this loads no torch; `load` does.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_instructpt.errors import EngineUnavailable, SettingsError
from hub_instructpt.records import Completion, SamplingParams

# Below this many weights a second thread gains nothing on a quiet CPU, and on a busy one the threads wait for each
# other: 42 tokens a second instead of 1,028 were seen. And OpenMP's threads do not survive a fork, as in `num_proc=2`:
# torch would wait for them for ever; with one thread it never does.
SMALL_MODEL = 50_000_000

# Tokens after which what has ended leaves a batch: a few rows that go on to the limit would hold up and cost as many.
ROUND = 32

_torch_pid: int | None = None


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model with its tokenizer, on a device. `closing` makes a running batch stop at its next token, unanswered."""

    model: Any
    tokenizer: Any
    eos_ids: tuple[int, ...]
    revision: str | None
    dtype: str
    version: str
    closing: threading.Event

    @property
    def max_tokens(self) -> int:
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 0) or 2048)

    def encode(self, text: str) -> list[int]:
        """Ids of a text that brings its own special tokens."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def generate(self, prompts: Sequence[list[int]], sampling: SamplingParams) -> Iterator[tuple[int, Completion]]:
        """Complete prompts, given as token ids, in one left-padded batch, or in smaller ones where memory is short.

        Yields the index of each prompt with its completion, in the order in which they end. Runs on the calling thread.
        """
        import torch

        parts = [list(range(len(prompts)))]
        while parts:
            left = dict.fromkeys(parts.pop())
            size = len(left)
            try:
                for number, completion in self._complete([*left], prompts, sampling):
                    del left[number]
                    yield number, completion
                continue
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            # Smaller ones are begun out of the handler: the traceback there keeps the failed batch in memory.
            half = (len(left) + 1) // 2
            parts += [part for part in ([*left][half:], [*left][:half]) if part]

    def _complete(
        self, numbers: list[int], prompts: Sequence[list[int]], sampling: SamplingParams
    ) -> Iterator[tuple[int, Completion]]:
        """Complete the prompts of these numbers; what has ended leaves the batch after every ROUND tokens."""
        import torch
        from transformers import GenerationConfig

        longest = max(len(prompts[number]) for number in numbers)
        pad, device = self.tokenizer.pad_token_id, self.model.device
        padded = [(longest - len(prompts[number]), prompts[number]) for number in numbers]
        ids = torch.tensor([[pad] * missing + prompt for missing, prompt in padded], device=device)
        mask = torch.tensor([[0] * missing + [1] * len(prompt) for missing, prompt in padded], device=device)
        # Without a word on it, transformers may draw from the 50 likeliest tokens only.
        drawn = {} if sampling.greedy else {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        ends = {"eos_token_id": list(self.eos_ids), "pad_token_id": pad}

        def closing(ids: Any, _: Any) -> Any:
            return torch.full((ids.shape[0],), self.closing.is_set(), device=ids.device, dtype=torch.bool)

        cache = None
        while numbers:
            begun = ids.shape[1] - longest
            config = GenerationConfig(
                max_new_tokens=min(ROUND, sampling.max_new_tokens - begun),
                do_sample=not sampling.greedy,
                return_dict_in_generate=True,
                **drawn,
                **ends,
            )
            with torch.inference_mode():
                output = self.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    past_key_values=cache,
                    generation_config=config,
                    stopping_criteria=[closing],
                )
            if self.closing.is_set():
                return
            ids, cache = output.sequences, output.get("past_key_values")
            rows = ids[:, longest:].tolist()
            last = len(rows[0]) >= sampling.max_new_tokens
            over = [last or any(end in row for end in self.eos_ids) for row in rows]
            for i in (i for i, ended in enumerate(over) if ended):
                yield numbers[i], self._read(rows[i], len(prompts[numbers[i]]))
            mask = torch.cat([mask, mask.new_ones(len(rows), ids.shape[1] - mask.shape[1])], dim=1)
            going = [i for i, ended in enumerate(over) if not ended]
            ids, mask, numbers = ids[going], mask[going], [numbers[i] for i in going]
            cache = _selected(cache, going, len(rows), device)

    def _read(self, tokens: list[int], prompt_tokens: int) -> Completion:
        end = next((i for i, token in enumerate(tokens) if token in self.eos_ids), None)
        tokens = tokens if end is None else tokens[: end + 1]
        text = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if end is None:
            text = text.rstrip("\ufffd")  # the limit may have cut a character
        return Completion(text, "length" if end is None else "stop", prompt_tokens, len(tokens))


def load(path: str, revision: str | None, device_name: str | None) -> LocalModel:
    """Load a model from a folder or the Hub onto a device, by default the best one that is here.

    Raises:
        EngineUnavailable: torch or the model is missing, or it is no causal LM.
        SettingsError: there is no such device.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise EngineUnavailable(
            f"The local engine needs {error.name}.", advice="pip install 'hub-instructpt[local]'"
        ) from None
    try:
        device = torch.device(device_name or _best_device(torch))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise SettingsError(f"There is no device {device_name!r} here.", advice="`cpu` is always there.") from None
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16 if device.type == "cuda" else torch.float16
    try:
        where = {"pretrained_model_name_or_path": path} | ({} if revision is None else {"revision": revision})
        transformers.utils.logging.disable_progress_bar()
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=dtype).to(device).eval()
        if getattr(model.config, "quantization_config", None) is None:
            model = model.to(dtype)  # transformers 4 leaves weights that are stored in eight bits as they are
    except Exception as error:  # every kind of model fails in its own way
        raise EngineUnavailable(
            f"No causal LM can be loaded from {path!r}: {_first_line(error)}",
            advice="Give a folder with config.json and weights, or the id of a model on the Hub.",
        ) from None
    _spare_threads(torch, small=device.type == "cpu" and model.num_parameters() < SMALL_MODEL)
    if tokenizer.eos_token_id is None:
        raise EngineUnavailable(
            f"The tokenizer of {path!r} has no end-of-sequence token.", advice="Set eos_token in its tokenizer config."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    # A model may end its texts with several tokens. Beyond that, what its own config would sample or penalise must
    # not leak into what was asked for.
    own = model.generation_config.eos_token_id
    eos_ids = sorted({tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None})
    model.generation_config = transformers.GenerationConfig(eos_token_id=eos_ids, pad_token_id=tokenizer.pad_token_id)
    loaded = LocalModel(
        model=model,
        tokenizer=tokenizer,
        eos_ids=tuple(eos_ids),
        revision=getattr(model.config, "_commit_hash", None)
        or _cached_commit(path, revision)
        or _weights_sha256(Path(path)),
        dtype=str(dtype).removeprefix("torch."),
        version=f"transformers {transformers.__version__}",
        closing=threading.Event(),
    )
    loaded.encode("a")  # drops the truncation that some tokenizers bring, before two threads use this one
    return loaded


def _selected(cache: Any, going: list[int], size: int, device: Any) -> Any:
    """What is remembered of some rows of `size`; None, to compute it again, where a model remembers in its own way."""
    import torch

    if not going or not all(hasattr(layer, "batch_select_indices") for layer in getattr(cache, "layers", [None])):
        return None
    if len(going) < size:  # it is copied, and is large
        cache.batch_select_indices(torch.tensor(going, device=device))
    return cache


def _spare_threads(torch: Any, *, small: bool) -> None:
    global _torch_pid
    forked, _torch_pid = _torch_pid not in (None, os.getpid()), os.getpid()
    if forked or small:
        torch.set_num_threads(1)


def _best_device(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cached_commit(path: str, revision: str | None) -> str | None:
    """The commit of a model of the Hub, by where it lies in the cache: newer versions of transformers do not say."""
    if Path(path).is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        file = try_to_load_from_cache(path, "config.json", revision=revision)
    except ValueError:  # no name of a repo
        return None
    found = re.search(r"[/\\]snapshots[/\\]([0-9a-f]{40})[/\\]", file) if isinstance(file, str) else None
    return found[1] if found else None


def _weights_sha256(folder: Path) -> str | None:
    """A revision for a model that has none: the digest of its weights."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

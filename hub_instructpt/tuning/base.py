"""The base model: loaded for training, and written out as a synthesizer that every engine can load.

Keeps true: no token is added and no embedding resized, so config and tokenizer are written as the base has them, byte
for byte: written anew by one version of transformers, another one may read them differently (5 writes the base of the
rotary embedding and the tokenizer's class where 4, and servers built on it, do not look). What is written names no
folder of this machine and carries no sampling settings, so that servers decode as they are asked to; adapters are
merged, so that nothing but transformers is needed to use it. Everything that can be wrong with a base is one line.
Importing this loads no torch.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_instructpt.engines.local import TINY_ID, TINY_SYNTHESIZER
from hub_instructpt.errors import SettingsError
from hub_instructpt.runs.files import sha256, sync_folder, write_text
from hub_instructpt.tuning.facts import BaseFacts, LoraSettings

CONFIG, GENERATION = "config.json", "generation_config.json"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "tekken.json", "chat_template.jinja",
)  # fmt: skip


@dataclass(slots=True)
class Base:
    """A base with its tokenizer.

    Attributes:
        files: its config and tokenizer files, as they are.
        max_length: the longest sequence that it takes, where that is known.
    """

    model: Any
    tokenizer: Any
    facts: BaseFacts
    files: dict[str, Path]
    max_length: int | None


def require() -> None:
    """Say what is missing for tuning, if anything is.

    Raises:
        SettingsError: a library is not installed.
    """
    try:
        import accelerate
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"Tuning needs {error.name}.",
            advice="Install torch for your machine, then pip install 'hub-instructpt[tuning]'.",
        ) from None
    del accelerate, torch


def on_gpu(cpu: bool) -> bool:
    """Whether it will be trained on a GPU."""
    import torch

    return not cpu and bool(torch.cuda.is_available())


def free() -> None:
    """Give back the memory of what is not used any more, that of a GPU as well."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def longest(name: str, revision: str | None) -> int | None:
    """The longest sequence that a base takes, in tokens; None where that is not known, or there is no such base."""
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(_where(name), revision=revision)
    except Exception:  # loading it will say what is wrong
        return None
    return _longest(config)


def _longest(config: Any) -> int | None:
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def _where(name: str) -> str:
    folder = TINY_SYNTHESIZER if name == "local" else Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def load(name: str, revision: str | None) -> Base:
    """Load a base from a folder, from the Hub, or `local`: the tiny synthesizer that comes along.

    Raises:
        SettingsError: it is no causal LM of transformers, or has no tokenizer.
    """
    import transformers

    place = _where(name)
    folder, where = Path(place), {"pretrained_model_name_or_path": place, "revision": revision or "main"}
    is_folder = folder.is_dir()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(**where)
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype="auto")
    except Exception as error:  # every kind of model fails in its own way
        what = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise SettingsError(
            f"No causal LM can be loaded from {name!r}: {what}",
            advice="Give a folder with config.json and weights, or the id of a model on the Hub.",
        ) from None
    if getattr(model, "is_quantized", False):
        raise SettingsError(
            f"{name!r} is quantised, and its weights can not be trained.",
            advice="Give the model that it was made from.",
        )
    if model.dtype.itemsize == 1:
        model = model.float()  # transformers 4 leaves weights that are stored in eight bits as they are
    facts = BaseFacts(
        name=TINY_ID if name == "local" else folder.resolve().name if is_folder else name,
        sha=_digest(folder) if is_folder else getattr(config, "_commit_hash", None),
        num_parameters=model.num_parameters(),
        dtype=str(model.dtype).removeprefix("torch."),
    )
    return Base(model, tokenizer, facts, _files(place, facts.sha), _longest(config))


def _files(where: str, commit: str | None) -> dict[str, Path]:
    """The config and tokenizer files of a base, as they lie in its folder or were fetched."""
    from transformers.utils import cached_file

    options: dict[str, Any] = {} if Path(where).is_dir() else {"revision": commit}
    found = {
        name: cached_file(
            where, name, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
            **options,
        )
        for name in (CONFIG, *TOKENIZER_FILES)
    }  # fmt: skip
    return {name: Path(path) for name, path in found.items() if path is not None}


def _digest(folder: Path) -> str | None:
    """The digest of weights in a folder."""
    digests = [sha256(path) for path in sorted(folder.glob("*.safetensors"))]
    return f"sha256:{digests[0]}" if len(digests) == 1 else f"sha256s:{'-'.join(digests)}" if digests else None


def prepare(base: Base, dtype: str, lora: LoraSettings | None, seed: int) -> Any:
    """The model as it is trained: its weights of that dtype, or with adapters beside them, which alone are trained.

    Args:
        seed: adapters begin with random numbers.

    Raises:
        SettingsError: adapters are wanted, and peft is not installed.
    """
    import torch

    model = base.model.to(getattr(torch, dtype))
    # What a base's own config would sample or penalise is no concern of a synthesizer's, and may not even be saveable.
    model.generation_config = _generation(base.tokenizer)
    if lora is None:
        return model
    try:
        import peft
    except ImportError:
        raise SettingsError("LoRA needs peft.", advice="pip install 'hub-instructpt[tuning]'") from None
    config = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    torch.manual_seed(seed)
    return peft.get_peft_model(model, config)


def _generation(tokenizer: Any) -> Any:
    import transformers

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return transformers.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=pad
    )


def write(model: Any, base: Base, folder: Path) -> None:
    """Write a trained model and its tokenizer, in the dtype of the base."""
    import torch

    if hasattr(model, "merge_and_unload"):
        # The sum of weights and adapters is rounded once, to what is written.
        model = model.to(torch.float32).merge_and_unload()
    model = model.to(getattr(torch, base.facts.dtype))
    with _quiet():
        model.save_pretrained(folder)
        base.tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        if path.name not in base.files and not path.name.startswith("model") and path.name != GENERATION:
            path.unlink()
    for name, path in base.files.items():
        shutil.copyfile(path, folder / name)
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    if config.pop("_name_or_path", None) is not None:
        write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    for weights in folder.glob("*.safetensors"):
        weights.chmod((folder / CONFIG).stat().st_mode)  # they are written for their owner's eyes only
    sync_folder(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    import transformers

    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(before)

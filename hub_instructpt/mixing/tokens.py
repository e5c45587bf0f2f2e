"""Tokens: what the base model's tokenizer makes of texts.

Keeps true: a text begins with one BOS and ends with one EOS, whatever the tokenizer adds by itself; a tokenizer that
has only one of them gives only that, and where both are the same token it stands once, at the end. A text can not
forge either: strings that look like special tokens are read as ordinary text.
Loads transformers only when a tokenizer is wanted. Does not know parts or files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from hub_instructpt.errors import SettingsError
from hub_instructpt.mixing.manifest import TokenizerFacts

Ids = npt.NDArray[np.int32]


class Tokenizer:
    """The tokenizer of a base model.

    Args:
        name: a folder, the id of a model on the Hub, or `local` for the one of the bundled tiny synthesizer.
        revision: of the model on the Hub.

    Raises:
        SettingsError: there is none of that name.
    """

    def __init__(self, name: str, revision: str | None = None) -> None:
        try:
            import transformers
        except ImportError:
            raise SettingsError(
                "Counting tokens needs transformers.", advice="pip install 'hub-instructpt[local]'"
            ) from None
        place = str(files("hub_instructpt") / "tiny_synthesizer") if name == "local" else name
        where = Path(place).expanduser()
        try:
            loaded: Any = transformers.AutoTokenizer.from_pretrained(
                str(where) if where.is_dir() else place, revision=revision
            )
        except Exception as error:  # whatever a tokenizer's own code may raise
            what = " ".join(str(error).split())[:200] or type(error).__name__
            raise SettingsError(
                f"No tokenizer can be loaded from {name!r}: {what}",
                advice="Give a folder with a tokenizer, or the id of a model on the Hub.",
            ) from None
        self._loaded = loaded
        self._backend = loaded.backend_tokenizer if loaded.is_fast else None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
            self._backend.encode_special_tokens = True
        bos, eos = loaded.bos_token_id, loaded.eos_token_id
        self._before = [] if bos is None or bos == eos else [bos]
        self._after = [] if eos is None else [eos]
        self._ends = frozenset(id_ for id_ in (bos, eos) if id_ is not None)
        self.facts = TokenizerFacts(
            name=where.resolve().name if where.is_dir() and name != "local" else name,
            revision=revision,
            sha256=self._digest(),
            bos=loaded.bos_token if self._before else None,
            eos=loaded.eos_token,
        )

    @property
    def ends_texts(self) -> bool:
        """Whether there is an EOS, which tells where one text ends and the next begins."""
        return bool(self._after)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of texts, each in its BOS and EOS."""
        return [np.array([*self._before, *ids, *self._after], dtype=np.int32) for ids in self._plain(texts)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Numbers of tokens of texts, BOS and EOS included."""
        ends = len(self._before) + len(self._after)
        return [len(ids) + ends for ids in self._plain(texts)]

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        if self._backend is not None:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
            found = [encoding.ids for encoding in encodings]
        else:
            found = self._loaded(
                list(texts), add_special_tokens=False, split_special_tokens=True, return_attention_mask=False,
                verbose=False,
            )["input_ids"]  # fmt: skip
        # Some vocabularies hold `</s>` as an ordinary piece as well, so splitting alone does not keep it out.
        return [ids if self._ends.isdisjoint(ids) else [i for i in ids if i not in self._ends] for ids in found]

    def _digest(self) -> str:
        if self._backend is not None:
            content = self._backend.to_str().encode()
        else:
            content = orjson.dumps(self._loaded.get_vocab(), option=orjson.OPT_SORT_KEYS)
        ends = f"{self._loaded.bos_token_id} {self._loaded.eos_token_id}".encode()
        return hashlib.sha256(content + ends).hexdigest()

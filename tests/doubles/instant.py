"""The engine of the double without a model, for load tests.

Its answer is A SMALL FUNCTION OF THE PROMPT, NOT A GENERATED OUTPUT: two pairs in the wire format, with words of the
context. It is there to count and to time requests, and no test may draw a conclusion about synthesis from it.

Keeps true: the same prompt has the same answer, other prompts have others; a token is a word with the space before it.
Does not know: models, tokenizers, waiting. To see requests overlap, start the server with `--fixed-delay`.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Any

from tests.doubles.decoding import Completion, Token
from tests.doubles.tgi_requests import Ask

_PIECES = re.compile(r"</?s>|\s*[^\s<]+|\s*<|\s+")
_MADE_UP_SPECIALS = {"<s>": 1, "</s>": 2}


@lru_cache(maxsize=2**16)  # the instant engine is there to be fast
def _made_up_id(piece: str) -> int:
    return _MADE_UP_SPECIALS.get(piece) or 3 + zlib.crc32(piece.encode()) % 4093


class InstantEngine:
    """Answers at once, with words taken from the prompt in the wire format. Not a generated output."""

    bos_id: int | None = 1
    waiting = 0

    def __init__(self, *, add_bos: bool = True) -> None:
        self.add_bos = add_bos

    def simple_tokens(self, text: str) -> list[dict[str, Any]]:
        found = [{"id": 1, "text": "", "start": 0, "stop": 0}] if self.add_bos else []
        found += [
            {"id": _made_up_id(m[0]), "text": m[0], "start": m.start(), "stop": m.end()} for m in _PIECES.finditer(text)
        ]
        return found

    def encode(self, text: str, truncate: int | None, *, add_bos: bool | None = None) -> tuple[int, ...]:
        adds = self.add_bos if add_bos is None else add_bos
        ids = [1] * adds + list(map(_made_up_id, _PIECES.findall(text)))
        if truncate is not None and len(ids) > truncate:
            ids = ids[:adds] + ids[len(ids) - truncate + adds :]
        return tuple(ids)

    async def complete(self, ask: Ask) -> Completion:
        context = ask.inputs.rpartition("<CON>")[2].partition("</CON>")[0]
        words = re.findall(r"\w+", f"{context[:200]} {context[-100:]}") or ["nothing"]  # enough, and fast
        mark = f"{zlib.crc32(ask.inputs.encode()):08x}"
        text = (
            f"<QUE> How does text {mark} begin? <ANS> {' '.join(words[:6])} </END>\n\n"
            f"<QUE> Which word ends text {mark}? <ANS> {words[-1]} </END>"
        )
        pieces = re.findall(r"\s*\S+", text)
        ended = len(pieces) < ask.limit
        pieces = pieces[: ask.limit]
        tokens = [Token(_made_up_id(p), p, -0.5, special=False) for p in pieces]
        if ended:
            tokens.append(Token(2, "</s>", -0.1, special=True))
        seed = ask.sampling.seed if ask.sampling and ask.sampling.do_sample else None
        return Completion("".join(pieces), "eos_token" if ended else "length", len(tokens), tuple(tokens), seed)

"""The rules that text-generation-inference holds a well-typed request against, in its order and its words.

The order matters: a client sees the first broken rule only. Rules and messages are those of `router/src/validation.rs`,
and one was added: what this double cannot do it refuses too, rather than answer as if it had done it.

Keeps true: what passes fits the token limits, with every default filled in.
Does not know: permits, which are taken before, and models.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.doubles.tgi_requests import CHUNK_TOKENS, Ask, Limits, Parameters, Refusal, Sampling

Encode = Callable[[str, int | None], tuple[int, ...]]


def check_best_of(parameters: Parameters, limits: Limits) -> int:
    """How many sequences to generate; checked before a permit is taken, since each sequence takes one."""
    best_of = max(parameters.best_of or 1, 1)
    if best_of > 1 and limits.max_best_of == 1:
        raise Refusal.invalid("`best_of` != 1 is not allowed for this endpoint")
    if best_of > limits.max_best_of:
        raise Refusal.invalid(f"`best_of` must be > 0 and <= {limits.max_best_of}. Given: {best_of}")
    return best_of


def check_stream(parameters: Parameters) -> None:
    if parameters.best_of not in (None, 1):
        raise Refusal.invalid("`best_of` != 1 is not supported when streaming tokens")
    if parameters.decoder_input_details:
        raise Refusal.invalid("`decoder_input_details` == true is not supported when streaming tokens")


def _check_parameters(p: Parameters, limits: Limits) -> None:
    asked_to_sample = p.do_sample or any(v is not None for v in (p.temperature, p.top_k, p.top_p, p.typical_p))
    several = (p.best_of or 1) > 1
    rules = [
        (several and not asked_to_sample, "you must use sampling when `best_of` is > 1"),
        (p.temperature is not None and p.temperature <= 0, "`temperature` must be strictly positive"),
        ((p.repetition_penalty or 1.0) <= 0 or p.repetition_penalty == 0,
         "`repetition_penalty` must be strictly positive"),
        (not -2 <= (p.frequency_penalty or 0.0) <= 2, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        (p.top_p is not None and not 0 < p.top_p < 1, "`top_p` must be > 0.0 and < 1.0"),
        (p.typical_p is not None and not 0 < p.typical_p < 1, "`typical_p` must be > 0.0 and < 1.0"),
        (p.top_k is not None and p.top_k <= 0, "`top_k` must be strictly positive"),
        (p.max_new_tokens == 0, "`max_new_tokens` must be strictly positive"),
        (len(p.stop) > limits.max_stop_sequences,
         f"`stop` supports up to {limits.max_stop_sequences} stop sequences. Given: {len(p.stop)}"),
        (several and p.seed is not None, "`seed` must not be set when `best_of` > 1"),
        ((p.top_n_tokens or 0) > limits.max_top_n_tokens,
         f"`top_n_tokens` must be >= 0 and <= {limits.max_top_n_tokens}. Given: {p.top_n_tokens}"),
    ]  # fmt: skip
    for broken, message in rules:
        if broken:
            raise Refusal.invalid(message)


def _check_abilities(p: Parameters) -> None:
    """Refuse what the double cannot do, rather than answer as if it had done it."""
    if p.grammar is not None:
        raise Refusal.invalid("grammar is not supported")
    missing = {"watermark": p.watermark, "frequency_penalty": p.frequency_penalty, "top_n_tokens": p.top_n_tokens}
    for name in (name for name, asked in missing.items() if asked):
        raise Refusal.invalid(f"this double does not do `{name}`")


def token_limit(max_new_tokens: int | None, input_length: int, max_total_tokens: int) -> int:
    """How many tokens the server generates at most, which is not always what was asked for.

    A request for more than CHUNK_TOKENS runs in whole passes of that size, as many as fit behind the input. So it may
    give more tokens than asked, or fewer, and no error in either case.
    """
    wanted = max(max_total_tokens - input_length, 0) if max_new_tokens is None else max_new_tokens
    first = min(wanted, CHUNK_TOKENS)
    if input_length + first > max_total_tokens:
        raise Refusal.invalid(
            f"`inputs` tokens + `max_new_tokens` must be <= {max_total_tokens}. "
            f"Given: {input_length} `inputs` tokens and {first} `max_new_tokens`"
        )
    if wanted <= CHUNK_TOKENS:
        return wanted
    return min(-(-wanted // CHUNK_TOKENS), (max_total_tokens - input_length) // CHUNK_TOKENS) * CHUNK_TOKENS


def validate(inputs: str, p: Parameters, limits: Limits, encode: Encode, draws: random.Random) -> Ask:
    """Turn a request into what the engine is asked, or raise the first rule that it breaks.

    `encode(text, truncate)` gives the ids that the model will see; `draws` gives seeds to requests without one.
    """
    _check_parameters(p, limits)
    if not inputs:
        raise Refusal.invalid("`inputs` cannot be empty")
    if p.truncate is not None and not 0 < p.truncate <= limits.max_input_tokens:
        raise Refusal.invalid(
            f"`truncate` must be strictly positive and less than {limits.max_input_tokens}. Given: {p.truncate}"
        )
    ids = encode(inputs, p.truncate)
    limit = token_limit(p.max_new_tokens, len(ids), limits.max_total_tokens)
    if len(ids) > limits.max_input_tokens:
        raise Refusal.invalid(f"`inputs` must have less than {limits.max_input_tokens} tokens. Given: {len(ids)}")
    _check_abilities(p)
    return Ask(inputs, ids, limit, tuple(p.stop), _sampling(p, draws), p.details or p.decoder_input_details)


def _sampling(p: Parameters, draws: random.Random) -> Sampling | None:
    penalty = p.repetition_penalty or 1.0
    if not p.sampled and penalty == 1.0:
        return None
    seed = draws.getrandbits(63) if p.seed is None else p.seed
    return Sampling(p.sampled, p.temperature or 1.0, p.top_k or 0, p.top_p or 1.0, p.typical_p or 1.0, penalty, seed)

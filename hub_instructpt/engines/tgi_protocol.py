"""What is written to a TGI server and read from it: parameters, completions, token counts.

Keeps true: nothing that a server answers raises here. Does not know connections, retries, limits or other servers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from hub_instructpt.engines.http_protocol import Question, json_bytes, json_of, positive
from hub_instructpt.engines.transport import Response
from hub_instructpt.errors import SettingsError
from hub_instructpt.records import Completion, FinishReason, SamplingParams


def parameters_of(sampling: SamplingParams) -> dict[str, Any]:
    """The `parameters` of /generate: always sent, and everything spelled out, since absent ones mean something else."""
    if sampling.max_new_tokens > 1024:
        raise SettingsError(
            f"max_new_tokens={sampling.max_new_tokens}: TGI generates in chunks of 1,024 tokens and then returns more "
            "or fewer tokens than asked for.",
            advice="Ask for 1,024 or fewer.",
        )
    parameters: dict[str, Any] = {"max_new_tokens": sampling.max_new_tokens, "return_full_text": False}
    if sampling.greedy:
        return {**parameters, "do_sample": False}
    parameters |= {"do_sample": True, "temperature": sampling.temperature}
    return parameters | ({"top_p": sampling.top_p} if sampling.top_p < 1.0 else {})  # 1.0 is an error there


@lru_cache(maxsize=64)
def _tail(sampling: SamplingParams, details: bool) -> bytes:
    """What follows the prompt in the body of /generate. The same for a whole run, so it is encoded once."""
    parameters = {**parameters_of(sampling), **({"details": True} if details else {})}
    return b',"parameters":' + json_bytes(parameters) + b"}"


def generating(sent: str, sampling: SamplingParams) -> Question[Completion | Question[Completion]]:
    """Asks for the completion of a text, which is sent as it stands.

    The answer is the completion, or another question where the text was lost: TGI answers "" when the last token cuts
    a character in two, and the tokens, which `details` brings, still tell it.
    """
    head = b'{"inputs":' + json_bytes(sent)

    def read(response: Response) -> Completion | Question[Completion] | None:
        answer = json_of(response.body)
        text = answer.get("generated_text") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            return None
        # One dict costs a third of two searches, and proxies that write names otherwise are rare.
        headers = dict(response.headers)
        generated = positive(headers.get(b"x-generated-tokens") or response.header("x-generated-tokens"))
        if not text and generated != 1:  # one token is the end of the sequence, and no loss
            return Question("/generate", head + _tail(sampling, True), sent, lambda again: _joined(again, sampling))
        prompt = positive(headers.get(b"x-prompt-tokens") or response.header("x-prompt-tokens"))
        return _completion(text, prompt, generated, sampling)

    return Question("/generate", head + _tail(sampling, False), sent, read)


def tokenizing(sent: str) -> Question[list[int]]:
    """Asks for the token ids of a text, the server's own BOS included."""
    return Question("/tokenize", json_bytes({"inputs": sent}), sent, ids_of)


def ids_of(response: Response) -> list[int] | None:
    """The ids that /tokenize answers, or None for another answer."""
    answer = json_of(response.body)
    if isinstance(answer, list) and all(isinstance(t, dict) and isinstance(t.get("id"), int) for t in answer):
        return [token["id"] for token in answer]
    return None


def details_of(value: dict[str, Any]) -> tuple[str, int | None]:
    """The text of an answer's tokens, special ones left out, and their number; as far as `details` tells."""
    details = value.get("details")
    details = details if isinstance(details, dict) else {}
    tokens = details.get("tokens")
    tokens = [t for t in tokens if isinstance(t, dict)] if isinstance(tokens, list) else []
    texts = [t["text"] for t in tokens if isinstance(t.get("text"), str) and not t.get("special")]
    return "".join(texts).rstrip("\ufffd"), positive(details.get("generated_tokens"))


def _joined(response: Response, sampling: SamplingParams) -> Completion | None:
    """The completion of an answer with `details`, its text put together from its tokens where it has none."""
    answer = json_of(response.body)
    text = answer.get("generated_text") if isinstance(answer, dict) else None
    if not isinstance(text, str):
        return None
    joined, counted = details_of(answer)
    generated = counted or positive(response.header("x-generated-tokens"))
    return _completion(text or joined, positive(response.header("x-prompt-tokens")), generated, sampling)


def _completion(text: str, prompt: int | None, generated: int | None, sampling: SamplingParams) -> Completion:
    finish: FinishReason | None = None
    if generated is not None:
        # TGI reports `length` exactly when the limit is reached, even when the last token ends the sequence.
        finish = "length" if generated >= sampling.max_new_tokens else "stop"
    return Completion(text, finish, prompt, generated)

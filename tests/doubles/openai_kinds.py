"""In what OpenAI-compatible servers differ: what they tell of themselves, what they do about BOS, how they refuse.

    vllm        0.32: leaves the BOS off when told to; refuses an unknown model and whatever does not fit, in advance
    sglang      0.5: ignores `add_special_tokens`; calls the model by whatever name it was asked for
    llama.cpp   ignores `add_special_tokens`; tells its slots and their context on /props; counts by listing tokens

Keeps true: the shapes and the words of the originals, as far as a client of text completions meets them. vLLM's were
compared with a real vLLM 0.32 (2026-11-21, same model, same pairs); the others' are from reading.
Does not know how an answer is generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.doubles.tgi_requests import Refusal

MODEL = "hub-instructpt/tiny-synthesizer"
_TYPES = {400: "BadRequestError", 404: "NotFoundError", 422: "BadRequestError", 429: "RateLimitError"}


@dataclass(frozen=True)
class Kind:
    """How a kind of server behaves."""

    name: str
    owner: str
    honours_add_special_tokens: bool
    refuses_unknown_models: bool
    default_model: str

    def card(self, model: str, context: int) -> dict[str, Any]:
        """A model as /v1/models lists it."""
        card: dict[str, Any] = {"id": model, "object": "model", "created": 1, "owned_by": self.owner}
        if self.name == "llama.cpp":
            return card | {"meta": {"n_vocab": 4096, "n_ctx_train": 2 * context}}
        return card | {"root": model, "parent": None, "max_model_len": context}

    def pages(self, model: str, context: int, slots: int) -> dict[str, dict[str, Any]]:
        """What GET tells beside /v1/models, by route."""
        if self.name == "vllm":
            return {"/version": {"version": "0.32.0"}}
        if self.name == "sglang":
            about = {"model_path": f"/models/{model}", "tokenizer_path": model, "is_generation": True}
            server = {"version": "0.5.9", "max_running_requests": slots, "tp_size": 1, "internal_states": [{}]}
            return {"/get_model_info": about, "/get_server_info": server}
        return {
            "/props": {
                "default_generation_settings": {"n_ctx": context, "params": {"temperature": 0.8}},
                "total_slots": slots,
                "model_path": f"/models/{model}.gguf",
                "build_info": "b8681-double",
            }
        }

    def too_long(self, prompt: int, new: int, context: int) -> Refusal | None:
        """The refusal of a prompt that does not fit, or None where it fits."""
        if self.name == "llama.cpp":  # it generates until its context is full, and refuses prompts alone
            told = f"request ({prompt} tokens) exceeds the available context size ({context} tokens), try increasing it"
            return Refusal(400, told, "exceed_context_size_error") if prompt >= context else None
        if prompt + new <= context:
            return None
        if self.name == "vllm":
            told = (
                f"This model's maximum context length is {context} tokens. However, you requested {prompt + new} "
                f"tokens ({prompt} in the prompt, {new} for the completion). Please reduce the length of the prompt."
            )
        else:
            told = f"The input ({prompt} tokens) is longer than the model's context length ({context} tokens)."
        return Refusal(400, told, "BadRequestError")

    def error(self, refusal: Refusal) -> dict[str, Any]:
        """The body of a refusal."""
        status = refusal.status
        kind = _TYPES.get(status, "InternalServerError")
        if self.name == "sglang":
            return {"object": "error", "message": refusal.error, "type": kind, "param": None, "code": status}
        if self.name == "llama.cpp":
            return {"error": {"code": status, "message": refusal.error, "type": refusal.error_type}}
        return {"error": {"message": refusal.error, "type": kind, "param": None, "code": status}}


KINDS = {
    kind.name: kind
    for kind in (
        Kind("vllm", "vllm", True, True, MODEL),
        Kind("sglang", "sglang", False, False, "default"),
        Kind("llama.cpp", "llamacpp", False, False, "gpt-3.5-turbo"),
    )
}

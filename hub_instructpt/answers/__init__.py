"""Answers that outlive a `map`: completions kept under the Hugging Face cache, so that the same call asks only once.

    ASSETS/hub-instructpt/answers/{model and sampling}/{name}.jsonl     a segment: answers that one process wrote
    ASSETS/hub-instructpt/answers/{model and sampling}/.{name}.lock     held by the process that writes there

ASSETS is what `huggingface_hub` makes of HF_ASSETS_CACHE and HF_HOME, by default ~/.cache/huggingface/assets.

    segments.py   names, locks, ages and sizes: a segment to write to, what goes when it is too much, what is there
    index.py      where the answer to a prompt stands, in 16 bytes; the answer itself stays on disk
    caching.py    an engine that looks there first, and writes there what it was told
"""

from hub_instructpt.answers.caching import CachedEngine
from hub_instructpt.answers.segments import DEFAULT_MAX_BYTES, Held, clear, default_folder, survey

__all__ = ["DEFAULT_MAX_BYTES", "CachedEngine", "Held", "clear", "default_folder", "survey"]

"""What the tests of cards share: a run with everything in it, one with next to nothing, and a reader of pages."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hub_instructpt import cards
from hub_instructpt.runs.manifest import EngineFacts, Manifest, Settings, ShardFacts, SourceFacts
from hub_instructpt.runs.shards import OpenShard
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden"
BEGIN, END = cards.begin(), cards.end()
COUNTS = {
    "rows/read": 12_000, "rows_rejected/null": 3, "rows_rejected/empty": 1_000, "rows/repaired_lone_surrogates": 2,
    "texts/all": 10_997, "contexts/cut": 17, "contexts/neutralised": 5, "finish_reason/stop": 10_900,
    "finish_reason/length": 95, "tokens/prompt": 4_000_000, "tokens/generated": 2_500_000,
    "texts_without_pairs/no_pair_parsed": 20, "texts_without_pairs/failed_timeout": 2,
    "texts_without_pairs/failed_status_418": 1, "pairs_dropped/unfinished": 95, "pairs_dropped/malformed": 7,
    "pairs/kept": 54_321,
}  # fmt: skip

TEXTS = [
    ("The mill by the river opened in 1907.\nIt grinds 300 sacks a day.", [
        ("When did the mill open?", "In 1907."),
        ("How many sacks in ten days?\nLet's think step by step.",
         "300 a day make 3,000.\nTherefore, the answer is 3,000"),
    ]),
    ("A text of which the model made nothing.", []),
    ("Long " * 400, [(f"Question {at}?", "Yes. " * 100) for at in range(7)]),
    ("Bread is baked at night, so that it is fresh in the morning.", [
        ("When is bread baked?\nOptions:\n- at night\n- at noon", "at night"),
    ]),
    ("River\n\n\tMill\tBridge", [("Which comes first?", "The river.")]),
    ("Six.", [("How many?", "6")]),
    ("Seven.", [("How many?", "7")]),
]  # fmt: skip
"""Texts with their pairs, as (instruction, response)."""


def sealed(folder: Path, texts: list[Any] = TEXTS, column: str = "url") -> ShardFacts:
    """A shard of one row for each text."""
    rows = [
        {
            "text": text,
            "examples": [
                {"context": text, "pairs": [{"instruction": i, "response": r} for i, r in pairs], column: "u"},
            ],
            "source_rows": [at],
            "num_pairs": len(pairs),
        }
        for at, (text, pairs) in enumerate(texts)
    ]
    counts = Counter(
        {
            "rows/read": len(texts),
            "texts/all": len(texts),
            "pairs/kept": sum(len(pairs) for _, pairs in texts),
            "texts_without_pairs/no_pair_parsed": sum(not pairs for _, pairs in texts),
        }
    )
    folder.mkdir(exist_ok=True)
    return OpenShard(0, 0, len(rows), counts=counts, rows=rows).seal(folder, {column: pa.string()})


def rich() -> Manifest:
    """Everything is known, and every count is there."""
    return Manifest(
        version="0.1.0", created_at="2026-11-20T23:00:00+00:00", updated_at="2026-11-21T09:00:00+00:00", finished=True,
        seconds=36000, command="hub-instructpt augment lab/raw --num-shots 3 --out DIR",
        source=SourceFacts(
            kind="hub", name="lab/raw_texts", config_name="en", split="train", revision="a" * 40, license=["cc-by-4.0"],
            language=["en", "zh-CN"], num_rows=12_000,
        ),
        settings=Settings(
            text_column="text", keep_columns=["url"], num_shots=3, max_new_tokens=400, temperature=0.0, top_p=1.0,
            rows_per_shard=1000, limit=None, seed=0,
        ),
        engine=EngineFacts(
            kind="tgi", model_id="instruction-pretrain/instruction-synthesizer", model_sha="b" * 40, version="3.3.6",
            dtype="float16", bos="<s>", eos="</s>",
        ),
        kept_types={"url": "string"},
        shards=[ShardFacts(
            path="data/train-00000.parquet", num_rows=4_000, num_bytes=123, arrow_bytes=456, sha256="c" * 64,
            source_rows=(0, 12_000), counts=COUNTS,
        )],
    )  # fmt: skip


def bare() -> Manifest:
    """An unfinished run of which nothing is known that need not be; not a single pair."""
    manifest = rich()
    manifest.finished, manifest.command, manifest.kept_types = False, None, {}
    manifest.source = SourceFacts(kind="files", name="corpus.jsonl")
    manifest.settings.num_shots = 1
    manifest.engine = EngineFacts(
        kind="local", model_id=cards.TINY, model_sha=None, version=None, dtype=None, bos="", eos=""
    )
    counts = {"rows/read": 2, "texts/all": 2, "texts_without_pairs/empty_completion": 2, "finish_reason/stop": 2}
    manifest.shards[0] = manifest.shards[0].model_copy(update={"num_rows": 2, "source_rows": (0, 2), "counts": counts})
    return manifest


def in_folder(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with the evidence of a shard that is there."""
    facts = sealed(folder)
    manifest.shards[0].evidence = facts.evidence
    return manifest


# -- hostile text

NASTY = (
    "|", "\n", "\r\n", "```", "````", "`", "\n---\n", "---", "\n\n# H\n\n", "<script>alert(1)</script>", "</td>",
    "<!--", "-->", END, BEGIN, "{{ 1+1 }}", "{% raw %}", "{#", "](http://evil.test)", "[x](y)", "![i](j)",
    "http://evil.test", "\x00", "\x1b[31m", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff", "&amp;", "&#124;",
    "\\", "\\|", "*", "_", "~~", "$x$", "<b>", "'", '"', ": ", "- ", "? ", "!!python/object:os.system", "&a", "*a",
    "%", "@user", "no", "null", "~", "1e3", "\t", " ", "\ud7ff", "\U0001f600", "\U0010ffff", "0o17", "012",
    "12:30",
)  # fmt: skip
# Shrinking a page of thirty hostile names takes minutes and tells nothing more than the first find.
quick = settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
hostile = st.lists(st.sampled_from(NASTY) | st.text(max_size=8), min_size=1, max_size=8).map("".join).filter(len)


def structure(card: str) -> list[Any]:
    """The page as a Markdown reader sees it, without its words: blocks, and what stands in their lines."""

    def shape(token: Token) -> tuple[Any, ...]:
        inner = [child.type for child in token.children or () if child.type not in ("text", "softbreak")]
        return token.type, token.tag, tuple(inner), token.content if token.type == "html_block" else None

    return [shape(token) for token in markdown(card) if token.type != "html_block" or "wrote" not in token.content]


def markdown(card: str) -> list[Token]:
    """The body of a card, read as Markdown."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(cards.split_card(card)[1])

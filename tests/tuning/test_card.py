"""The card of a synthesizer: a golden file to look at, and a page that no text from outside can break.

Golden file: tests/golden/tuning/card.md, renewed with UPDATE_GOLDEN=1.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hub_instructpt.collection.manifest import LicenceFacts
from hub_instructpt.errors import RunDirectoryError, RunError
from hub_instructpt.tuning.card import add_scores, command, render_card, write_card
from hub_instructpt.tuning.facts import (
    FACTS,
    BaseFacts,
    DataFacts,
    LoraSettings,
    Machine,
    TunedOn,
    TuningFacts,
    TuningSettings,
    refuse_other,
)
from hub_instructpt.tuning.scores import EngineScored, Evaluation, EvaluationSettings, Mean, Scores
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "tuning" / "card.md"
TIME = "2026-11-21T08:00:00+00:00"


def licence(name: str, **marks: Any) -> LicenceFacts:
    plain = {"share_alike": False, "non_commercial": False, "redistributable": True, "note": "", "restrictions": []}
    return LicenceFacts(name=name, hub_id=name.lower().replace(" ", "-"), **{**plain, **marks})


def facts(word: str = "", **changes: Any) -> TuningFacts:
    """Facts of a finished tuning; `word` stands in every text that comes from outside."""
    datasets = [
        TunedOn(name=f"squad{word}", seen=True, licence=licence("CC BY-SA 4.0", share_alike=True),
                source=f"rajpurkar/squad{word}", examples=900, tokens=300_000, tokens_with_loss=90_000, sequences=80,
                per_epoch=100, held_out=["00" * 8, "11" * 8]),
        TunedOn(name=f"race{word}", seen=True,
                licence=licence("RACE", non_commercial=True, redistributable=False,
                                restrictions=["non-commercial", "must not be passed on"]),
                examples=100, tokens=60_000, tokens_with_loss=9_000, sequences=20, per_epoch=25, held_out=["22" * 8]),
        TunedOn(name=f"ROPES{word}", seen=False, held_out=["33" * 8]),
    ]  # fmt: skip
    given = {
        "created_at": TIME, "finished_at": TIME, "seconds": 3600.0, "license": "cc-by-nc-4.0",
        "base": BaseFacts(name=f"lab/base{word}", sha="0" * 40, num_parameters=7_000_000_000, dtype="bfloat16"),
        "settings": TuningSettings(hold_out=[f"ROPES{word}"], lora=LoraSettings()),
        "data": DataFacts(name=f"lab/collection{word}", digest="xxh3_128:0", datasets=datasets,
                          counts={"records/read": 1000, "contexts/cut": 12, "pairs_left_out/no_room": 3}),
        "machine": Machine(device=f"NVIDIA{word}", processes=4, versions={"torch": "2.13.0"}),
        "sequences_per_step": 4, "steps": 31, "steps_done": 31, "version": "0.1.0",
        "log": [{"step": 0.0, "seen_loss": 2.5}, {"step": 10.0, "loss": 2.25, "learning_rate": 5e-6},
                {"step": 31.0, "loss": 1.5}, {"step": 31.0, "seen_loss": 1.75, "unseen_loss": 2.0}],
        "evaluations": [evaluation(word)],
    }  # fmt: skip
    return TuningFacts(**{**given, **changes})


def evaluation(word: str = "", shots: int = 0, f1: float = 0.5) -> Evaluation:
    scores = [
        Scores(name=f"squad{word}", seen=True, contexts=20, response_f1=Mean(mean=f1, error=0.01, number=20),
               response_exact=0.25, pair_quality=Mean(mean=0.4, error=0.02, number=20), parsed=0.95,
               pairs_per_text=2.5, extractive=0.9, repeated=0.05),
        Scores(name=f"ROPES{word}", seen=False, contexts=20),
    ]  # fmt: skip
    return Evaluation(
        version="0.1.0", measured_at=TIME, engine=EngineScored(kind="local", model_id=f"synth{word}"),
        settings=EvaluationSettings(num_shots=shots), data=f"lab/collection{word}", datasets=scores,
    )  # fmt: skip


def test_the_card_looks_as_it_should() -> None:
    card = render_card(facts(), "lab/synth")
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(card, "utf-8")
    assert GOLDEN.read_text("utf-8") == card


def front_of(card: str) -> str:
    found = REGEX_YAML_BLOCK.search(card)  # as the Hub's client finds it
    assert found
    return str(found[2])


def structure(card: str) -> list[tuple[str, str]]:
    """What a reader sees as headings, tables, lists, fences and pictures, without the words in them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(REGEX_YAML_BLOCK.sub("", card, count=1))
    found = [(token.type, token.tag) for token in tokens if token.type != "inline"]
    return found + [
        (child.type, child.tag)
        for token in tokens
        for child in token.children or ()
        if child.type in ("image", "html_inline")
    ]


HOSTILE = st.text(st.sampled_from("|`<>!-[]()#*_\n\r\t\\&;:'\"{}%$ ab\u2028\x00é"), max_size=20)


@given(HOSTILE)
@example("---\n")
@example("\n---\n")
def test_no_text_from_outside_breaks_the_page_or_its_metadata(word: str) -> None:
    plain, card = render_card(facts("x")), render_card(facts(f"x{word}x"))
    assert structure(card) == structure(plain)
    metadata = yaml.safe_load(front_of(card))
    assert metadata["license"] == "cc-by-nc-4.0"
    assert metadata["base_model"] == f"lab/basex{word}x"


def test_what_a_person_wrote_stays_and_scores_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    facts().save(tmp_path)
    path = write_card(tmp_path)
    path.write_text(path.read_text().replace("license: cc-by-nc-4.0", "license: mit") + "\nA word of mine.\n")
    add_scores(tmp_path, evaluation(shots=2))
    add_scores(tmp_path, evaluation(f1=0.75))
    card = path.read_text()
    assert "A word of mine." in card
    assert "license: mit" in card
    assert "75.0 ± 1.0" in card
    shown = TuningFacts.load(tmp_path).evaluations
    assert shown == [evaluation(f1=0.75), evaluation(shots=2)]
    assert "2 examples shown before each text" in card


def test_the_command_on_the_card_gives_the_same_settings() -> None:
    changed = facts(
        settings=TuningSettings(max_length=512, learning_rate=1e-4, max_steps=7, hold_out=["a b"], dtype="bfloat16")
    )
    words = shlex.split(command(changed))
    assert words[:5] == ["hub-instructpt", "tune", "lab/collection", "--base", "lab/base"]
    assert dict(zip(words[5::2], words[6::2], strict=True)) == {
        "--max-length": "512", "--learning-rate": "0.0001", "--max-steps": "7", "--hold-out": "a b",
        "--dtype": "bfloat16", "--out": "DIR",
    }  # fmt: skip


def test_facts_that_can_not_be_believed_are_an_error_and_other_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no tuned synthesizer"):
        TuningFacts.load(tmp_path)
    (tmp_path / FACTS).write_text('{"kind": "synthesizer", "steps": "many"}')
    with pytest.raises(RunError, match="damaged or of another version"):
        TuningFacts.load(tmp_path)
    here = facts()
    for there, words in (
        (facts(settings=TuningSettings(seed=4, hold_out=["ROPES"], lora=LoraSettings())), "--seed was 4, now it is 0"),
        (facts(data=DataFacts(name="lab/collection", digest="other")), "its collection had other records"),
        (facts(sequences_per_step=8), "sequences a step was 8, now it is 4"),
        (facts(base=BaseFacts(name="lab/other", sha=None, num_parameters=1, dtype="float32")), "the base was"),
    ):
        with pytest.raises(RunDirectoryError, match=words):
            refuse_other(there, here, tmp_path)
    refuse_other(facts(license=None, seconds=1.0), here, tmp_path)

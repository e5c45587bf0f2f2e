"""The base: what is missing is named, and what it takes is known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hub_instructpt.engines.local import TINY_ID, TINY_SYNTHESIZER
from hub_instructpt.errors import SettingsError
from hub_instructpt.tuning import base as bases
from hub_instructpt.tuning.facts import LoraSettings, TuningSettings, warmup_of


@pytest.mark.parametrize("library", ["torch", "transformers", "accelerate"])
def test_a_library_that_is_missing_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingsError, match=rf"Tuning needs {library}.*hub-instructpt\[tuning\]"):
        bases.require()


def test_adapters_need_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    base = bases.load("local", None)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SettingsError, match="LoRA needs peft"):
        bases.prepare(base, "float32", LoraSettings(), 0)


def test_a_base_is_named_without_its_folder_and_its_files_are_known(tmp_path: Path) -> None:
    base = bases.load("local", None)
    assert (base.facts.name, base.max_length) == (TINY_ID, 2048)
    assert base.facts.sha is not None
    assert base.facts.sha.startswith("sha256:")
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= base.files.keys()
    assert all(path.parent == TINY_SYNTHESIZER for path in base.files.values())
    assert bases.longest("local", None) == 2048
    assert bases.longest(str(tmp_path), None) is None
    with pytest.raises(SettingsError, match="No causal LM can be loaded from"):
        bases.load(str(tmp_path), None)


def test_warm_up_is_a_tenth_of_a_short_training_unless_it_is_given() -> None:
    assert [warmup_of(TuningSettings(), steps) for steps in (5, 120, 10_000, 50_000)] == [0, 12, 1000, 1000]
    assert warmup_of(TuningSettings(warmup_steps=7), 5) == 7

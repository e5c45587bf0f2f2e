"""The wording in templates/ is rich and whole, and a mistake in it is found when it is loaded.

Held: how many distinct templates there are of each kind; that they read right before and after their context; an error
that names file and entry for every kind of mistake; the digest.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

import hub_instructpt
from hub_instructpt.errors import HubInstructPTError
from hub_instructpt.rendering.listing import COUNTS, OPTION_COUNTS
from hub_instructpt.rendering.questions import KINDS, Kind
from hub_instructpt.rendering.templates import Template
from hub_instructpt.rendering.wording import load_wording, wording

TEMPLATES = Path(hub_instructpt.__file__).parent / "templates"


def distinct(entries: Iterable[str]) -> int:
    return len({" ".join(entry.split()).casefold() for entry in entries})


# -- what is there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "least"),
    [("free_form", 73), ("options", 24), ("chain_of_thought", 60), ("options_chain_of_thought", 60)],
)
def test_there_are_as_many_templates_of_each_kind_as_are_published(kind: Kind, least: int) -> None:
    written = yaml.safe_load((TEMPLATES / f"{kind}.yaml").read_text("utf-8"))
    instruction_first = written["templates"] + written.get("for_questions", [])
    assert len(written["templates"]) >= least
    every = [*instruction_first, *written["answer_first"]]
    assert distinct(every) == len(every) >= least + 8


def test_there_are_as_many_starts_and_styles_as_are_published() -> None:
    reading, items, modes = (
        yaml.safe_load((TEMPLATES / f"{n}.yaml").read_text()) for n in ("reading", "items", "modes")
    )
    least = {"reading_starts": 50, "comprehension_starts": 84, "question_starts": 42, "text_starts": 60}
    assert {
        name: distinct(reading[name] + reading.get(f"{name}_for_questions", [])) >= number
        for name, number in least.items()
    } == dict.fromkeys(least, True)
    assert distinct(items["option_starts"]) >= 16
    assert distinct(i["item"] for i in items["option_items"]) * len(OPTION_COUNTS) + distinct(items["bullets"]) >= 63
    assert distinct(i["question"] for i in items["question_items"]) * len(COUNTS) >= 40
    assert distinct(map(" / ".join, modes["speakers"])) * distinct(modes["turns"]) >= 50
    assert len(modes["speakers"]) >= 50
    assert distinct(modes["dialogue_starts"]) >= 15
    assert distinct(modes["numbered"]) >= 11
    assert distinct(modes["next_turn"]) >= 15
    assert distinct(modes["inline"]) >= 10
    assert distinct(modes["inline_explained"]) >= 10


def test_pairs_read_right_on_either_side_of_their_context() -> None:
    words = wording()
    templates = [t for kind in KINDS for t in (*words.pairs[kind].with_questions, *words.pairs[kind].answer_first)]
    templates += [*words.modes.numbered, *words.modes.numbered_answer_first]
    texts = [t.source for t in templates]
    texts += [entry.of(n).source for n in (1, 2) for entry in (*words.modes.inline, *words.modes.inline_explained)]
    for text in texts:
        assert not re.search(r"\b(above|below|earlier|preceding|previous)\b", text, re.IGNORECASE), text


def test_every_sentence_starts_with_a_capital_and_has_single_blanks() -> None:
    words = wording()
    for entry in (*words.reading.comprehension_starts_with_questions, *words.reading.question_starts_with_questions):
        for number in (1, 2):
            text = entry.of(number).source
            assert text[0].isupper()
            assert "  " not in text
            assert not re.search(r" [.,:?]|\ba [aeiou]|\ban [^aeiou]", text), text


@pytest.mark.parametrize(
    ("source", "filled"),
    [
        ("It is {response}.", {"7": "It is 7.", "It.": "It is It.", 'So "so."': 'It is So "so."', "(B)": "It is (B).",
                               "u?": "It is u?", "日本。": "It is 日本。", "**b**": "It is **b**.", "": "It is ."}),
        ("{response}. Then", {"A!\n": "A!\n Then", "B": "B. Then"}),
    ],
)  # fmt: skip
def test_a_full_stop_is_written_where_a_text_has_no_end_of_its_own(source: str, filled: dict[str, str]) -> None:
    assert {value: Template(source).fill({"response": value}) for value in filled} == filled


def test_a_label_keeps_its_full_stop() -> None:
    assert Template("{n}. {option}").fill({"n": "a.", "option": "{n}"}) == "a.. {n}"


# -- what is found -----------------------------------------------------------------------------------------------------


def broken(name: str, change: Callable[[str], str], folder: Path) -> str:
    """The error of loading a copy of the wording with one file changed."""
    copy = folder / "templates"
    shutil.copytree(TEMPLATES, copy)
    text = (copy / name).read_text("utf-8")
    changed = change(text)
    assert changed != text
    (copy / name).write_text(changed, "utf-8")
    with pytest.raises(HubInstructPTError) as caught:
        load_wording(copy)
    assert f"templates/{name} is not valid" in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message


def entry(text: str) -> Callable[[str], str]:
    """Adds an entry to the first list of a file."""
    return lambda source: re.sub(r"(?m)^(\w+:)$", lambda found: f"{found[1]}\n  - {text}", source, count=1)


MISTAKES = {
    "a missing placeholder": ("free_form.yaml", '"Ask {instruction}"', ["Ask {instruction}", "{response}"]),
    "a doubled placeholder": ("free_form.yaml", '"{instruction} {instruction} {response}"', ["2 times"]),
    "an unknown placeholder": ("free_form.yaml", '"{instruction} {response} {reply}"', ["unknown", "{reply}"]),
    "the wrong kind's placeholder": ("chain_of_thought.yaml", '"{instruction}{response}"', ["{reasoning}"]),
    "a stray brace": ("free_form.yaml", '"{instruction} } {response}"', ["brace"]),
    "an open placeholder": ("free_form.yaml", '"{instruction} {response} {reply"', ["brace"]),
    "a repeated entry": ("free_form.yaml", '"question:  {instruction}\\nANSWER: {response}"', ["says the same as"]),
    "a doubled question mark": ("free_form.yaml", '"Say: {instruction}?\\n{response}"', ["an end of its own"]),
    "a blank at the end": ("free_form.yaml", '"Say {instruction} now {response} "', ["begins or ends with a blank"]),
    "a far longer entry": ("free_form.yaml", '"{instruction} {response}' + " and on" * 30 + '"', ["far longer"]),
    "a missing blank": ("free_form.yaml", '"Say:Ask {instruction} {response}"', ["joined"]),
    "a glued placeholder": ("free_form.yaml", '"Say{instruction} so {response}"', ["joined"]),
    "two entries in one": ("items.yaml", '"Options: Choices:"', ["joins two others", "Options: Choices:"]),
    "two sentences glued": ("items.yaml", '"None of the options fitNone of them"', ["joined", "tN"]),
    "options within a line": ("options.yaml", '"{instruction} {options} {response}"', ["lines of their own"]),
    "a number that is not text": ("free_form.yaml", "42", ["must be a text"]),
    "a mapping that is not text": ("free_form.yaml", "Question: {instruction}", ["must be a text"]),
    "a choice by number where there is none": ("items.yaml", '"Option{|s} here:"', ["number"]),
    "an empty entry": ("items.yaml", '""', ["must be a text"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_an_entry_is_an_error_that_names_it(mistake: str, tmp_path: Path) -> None:
    name, text, told = MISTAKES[mistake]
    message = broken(name, entry(text), tmp_path)
    assert "entry" in message
    for part in told:
        assert part in message


FILES = {
    "an unknown key": ("items.yaml", lambda s: s + "\nmore: [x]\n", "more"),
    "an unknown key in an item": ("items.yaml", lambda s: s.replace("label:", "lable:", 1), "option_items.1"),
    "a missing key": ("modes.yaml", lambda s: s.replace("\nturns:", "\nturned:"), "turn"),
    "a doubled key": ("reading.yaml", lambda s: s + '\ntext_starts:\n  - "So: {context}"\n', "'text_starts'"),
    "another version": ("free_form.yaml", lambda s: s.replace("version: 1", "version: 2"), "version"),
    "an empty list": ("items.yaml", lambda s: re.sub(r"(?s)bullets:\n.*?\n\n", "bullets: []\n\n", s), "bullets"),
    "an empty file": ("items.yaml", lambda s: "", "dictionary"),
    "no YAML": ("items.yaml", lambda s: "a: [", "parsing"),
    "a repeated option item": (
        "items.yaml",
        lambda s: s.replace("_items:", '_items:\n  - {item: "{n}.  {option}", label: "{n}", both: "{n} {option}"}', 1),
        "stands there twice",
    ),
    "an entry in both lists": (
        "free_form.yaml",
        lambda s: s.replace("for_questions:", 'for_questions:\n  - "In: {instruction}\\nOut: {response}"'),
        "stands there twice",
    ),
    "a speaker who talks to nobody": ("modes.yaml", lambda s: s.replace("[Q, A]", "[Q, q]"), "q / q"),
    "repeated speakers": ("modes.yaml", lambda s: s.replace("[Q, A]", "[user, ASSISTANT]"), "user / assistant"),
    "three speakers": ("modes.yaml", lambda s: s.replace("[Q, A]", "[Q, A, B]"), "speakers.2"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", FILES)
def test_a_mistake_in_a_file_is_an_error_that_names_it(mistake: str, tmp_path: Path) -> None:
    name, change, told = FILES[mistake]
    assert told in broken(name, change, tmp_path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path / "templates")
    (tmp_path / "templates" / "modes.yaml").unlink()
    with pytest.raises(HubInstructPTError, match=r"templates/modes\.yaml"):
        load_wording(tmp_path / "templates")


def test_any_change_of_any_file_changes_the_digest(tmp_path: Path) -> None:
    digests = {wording().digest}
    for name in sorted(path.name for path in TEMPLATES.iterdir()):
        shutil.copytree(TEMPLATES, tmp_path / name)
        with (tmp_path / name / name).open("a") as file:
            file.write("# a remark\n")
        digests.add(load_wording(tmp_path / name).digest)
    assert len(digests) == 1 + len(list(TEMPLATES.iterdir()))

"""Measuring an engine: what is asked, what the scores are, and that they follow from what was answered.

Held with engines whose answers are known: one that answers as people did, one that knows nothing, one that fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from hub_instructpt.errors import EngineError, EngineUnavailable, InputError, RequestFailed, SettingsError
from hub_instructpt.markup import format_pairs, format_prompt
from hub_instructpt.tuning.asking import read_answer
from hub_instructpt.tuning.evaluating import Exam, evaluate
from hub_instructpt.tuning.exams import exams_of
from hub_instructpt.tuning.facts import DataFacts, TunedOn
from hub_instructpt.tuning.parts import digest, open_parts, read
from hub_instructpt.tuning.sampling import draw
from hub_instructpt.tuning.scores import Evaluation, EvaluationSettings, table
from tests.conftest import ROOT
from tests.tuning.collections import Told, record, write_collection, write_part
from tests.tuning.test_card import facts

GOLDEN = ROOT / "tests" / "golden" / "tuning"


def exams(folder: Path, settings: EvaluationSettings, seen: dict[str, bool] | None = None) -> list[Exam]:
    found = []
    for part in open_parts(folder):
        counts: Counter[str] = Counter()
        cases = draw(
            part, contexts=settings.contexts, questions=settings.questions, num_shots=settings.num_shots,
            seed=settings.seed, counts=counts,
        )  # fmt: skip
        found.append(Exam(part.name, (seen or {}).get(part.name), cases, counts))
    return found


def gold(folder: Path) -> dict[str, Any]:
    """The gold pairs of every context."""
    return {example["context"]: example["pairs"] for part in open_parts(folder) for example in read(part)}


def last_context(prompt: str) -> str:
    return prompt.rpartition("<CON> ")[2].partition(" </CON>")[0]


def as_people_do(folder: Path) -> Told:
    """An engine that writes the gold pairs, and gives the gold answers."""
    known = gold(folder)

    def answer(prompt: str) -> str:
        pairs = known[last_context(prompt)]
        if not prompt.endswith("<ANS>"):
            return format_pairs(pairs)
        asked = prompt.rpartition("<QUE> ")[2].removesuffix(" <ANS>")
        (response,) = [pair["response"] for pair in pairs if pair["instruction"] == asked]
        return f" {response} </END>\n\n<QUE> Another? <ANS> No </END>"

    return Told(answer)


def test_an_engine_that_answers_as_people_did_gets_every_point(tmp_path: Path) -> None:
    folder = write_collection(tmp_path, {"one": 6, "two": 3})
    settings = EvaluationSettings(contexts=4)
    engine = as_people_do(folder)
    evaluation = evaluate(engine, exams(folder, settings, {"one": True, "two": False}), settings, "both")
    assert engine.closed == 1
    for scores, contexts in zip(evaluation.datasets, (4, 3), strict=True):
        assert scores.contexts == contexts
        assert scores.response_f1 is not None
        assert (scores.response_f1.mean, scores.response_f1.number) == (1.0, 2 * contexts)
        assert scores.pair_quality is not None
        assert scores.pair_coverage is not None
        assert scores.pair_quality.mean == scores.pair_coverage.mean == scores.response_exact == 1.0
        assert scores.parsed == scores.clean == scores.answers_closed == scores.extractive == 1.0
        assert (scores.pairs_per_text, scores.repeated) == (2.0, 0.0)
        assert scores.kinds == {"free_form": 2 * contexts}
    assert [name for name, _ in evaluation.groups()] == ["seen", "unseen", "all"]


def test_scores_are_what_the_answers_are_worth(tmp_path: Path) -> None:
    """Two contexts, worked out by hand: one is answered in part, the other with nothing that parses."""
    folder = write_part(tmp_path, "part", [record("part", 0), record("part", 1)])

    def answer(prompt: str) -> str:
        first = "road 0" in prompt
        if prompt.endswith("<ANS>"):
            return " in 1800 </END>" if first and "built?" in prompt else " no idea"
        if not first:
            return "I can not."
        return (
            "<QUE> When was the mill built? <ANS> 1800 </END>\n\n<QUE> when was the MILL built? <ANS> 1801 </END>\n\n"
            "<QUE> Is it green? <ANS> yes </END>\n\n<QUE> What"
        )

    settings = EvaluationSettings()
    (scores,) = evaluate(Told(answer), exams(folder, settings), settings, "part").datasets
    # Answers: "in 1800" against "1800" is 2/3; the three others share no word.
    assert scores.response_f1 is not None
    assert scores.response_f1.mean == pytest.approx(2 / 3 / 4, abs=1e-4)
    # By context the sums are 2/3 and 0, the means of both 1/6 a question: off by 1/3 each.
    assert scores.response_f1.error == pytest.approx((2 * (1 / 3) ** 2 * 2) ** 0.5 / 4, abs=1e-4)
    assert (scores.response_exact, scores.answers_closed) == (0.0, 0.25)
    # Pairs: the first is gold. {is it green yes} shares `it` with {how many does it seat 7}: 2/10. The other gold pair
    # is met best by that one as well. The second context has none: 0.
    assert scores.pair_quality is not None
    assert scores.pair_quality.mean == pytest.approx((1 + 0.2) / 2 / 2, abs=1e-4)
    assert scores.pair_coverage is not None
    assert scores.pair_coverage.mean == pytest.approx((1 + 0.2) / 2 / 2, abs=1e-4)
    assert (scores.parsed, scores.clean, scores.pairs_per_text) == (0.5, 0.0, 1.0)
    assert scores.extractive == 0.5  # 1800 stands in its text, yes does not
    assert scores.repeated == pytest.approx(1 / 3, abs=1e-4)
    assert scores.kinds == {"free_form": 1, "yes_no": 1}
    assert scores.counts["pairs_dropped/repeated_instruction"] == 1
    assert scores.counts["pairs_dropped/unfinished"] == 2


def test_prompts_are_the_wire_format_with_examples_of_the_same_dataset(tmp_path: Path) -> None:
    folder = write_collection(tmp_path, {"one": 9, "two": 9})
    settings = EvaluationSettings(contexts=4, questions=1, num_shots=2)
    engine = as_people_do(folder)
    drawn = exams(folder, settings)
    evaluate(engine, drawn, settings, "both")
    prompts = {prompt for prompt, _ in engine.prompts}
    assert len(prompts) == 2 * 4 * 2
    for exam in drawn:
        tested = {case.example["context"] for case in exam.cases}
        for case in exam.cases:
            prompt = format_prompt(case.example["context"], case.shots)
            asked = case.example["pairs"][case.asked[0]]["instruction"]
            assert {prompt, f"{prompt}<QUE> {asked} <ANS>"} <= prompts
            assert not tested & {shot["context"] for shot in case.shots}
            assert all(exam.name in shot["context"] for shot in case.shots)
    assert {sampling.temperature for _, sampling in engine.prompts} == {0.0}
    assert Counter(sampling.max_new_tokens for _, sampling in engine.prompts) == {400: 8, 128: 8}


def test_the_choice_follows_from_words_and_seed_not_from_the_order_of_files(tmp_path: Path) -> None:
    rows = [record("part", number) for number in range(40)]
    write_part(tmp_path / "here", "part", rows)
    write_part(tmp_path / "there", "part", rows[::-1])

    def chosen(where: str, seed: int) -> list[Any]:
        (part,) = open_parts(tmp_path / where)
        return draw(part, contexts=5, questions=1, num_shots=1, seed=seed, counts=Counter())

    assert chosen("here", 0) == chosen("there", 0) != chosen("here", 1)


def test_only_contexts_that_are_allowed_are_measured_on(tmp_path: Path) -> None:
    write_part(tmp_path, "part", [record("part", number) for number in range(20)])
    (part,) = open_parts(tmp_path)
    allowed = {digest(record("part", number)["context"]) for number in (3, 8)}
    cases = draw(
        part, contexts=9, questions=1, num_shots=3, seed=0, counts=Counter(), allowed=lambda key: key in allowed
    )
    assert {digest(case.example["context"]) for case in cases} == allowed
    assert not any(digest(shot["context"]) in allowed for case in cases for shot in case.shots)


def test_too_few_contexts_are_an_error_that_says_how_many_to_take(tmp_path: Path) -> None:
    write_part(tmp_path, "part", [record("part", number) for number in range(5)])
    (part,) = open_parts(tmp_path)
    with pytest.raises(InputError, match=r"too few to measure on 5 and show 2.*--contexts 3"):
        draw(part, contexts=300, questions=1, num_shots=2, seed=0, counts=Counter())
    with pytest.raises(InputError, match="no context to measure on"):
        draw(part, contexts=3, questions=1, num_shots=0, seed=0, counts=Counter(), allowed=lambda key: False)


def test_what_does_not_fit_is_left_out_examples_first_and_counted(tmp_path: Path) -> None:
    rows = [record("part", number) for number in range(5)]
    long = {**rows[0], "context": rows[0]["context"] + " It is long." * 400}
    folder = write_part(tmp_path, "part", [long, *rows[1:]])
    engine = Told(lambda prompt: " 7 </END>", max_total_tokens=500)
    settings = EvaluationSettings(contexts=3, questions=1, num_shots=2, max_new_tokens=300, max_answer_tokens=300)
    (scores,) = evaluate(engine, exams(folder, settings), settings, "part").datasets
    assert all(len(prompt) // 2 <= 200 for prompt, _ in engine.prompts)
    shown = sum(prompt.count("<CON>") - 1 for prompt, _ in engine.prompts)
    assert scores.counts["prompts/shots_left_out"] + shown == scores.counts["prompts/all"] * 2
    longest = [prompt for prompt, _ in engine.prompts if "It is long." in prompt]
    assert scores.counts.get("prompts/context_cut", 0) == len(longest)


def test_requests_that_fail_are_no_score_and_too_many_are_an_error(tmp_path: Path) -> None:
    folder = write_collection(tmp_path, {"one": 40})
    settings = EvaluationSettings(questions=1)
    good = as_people_do(folder)

    class Failing(Told):
        async def complete(self, prompt: str, sampling: Any) -> Any:
            if re.search(r"road [123]\.", prompt):
                raise RequestFailed("No.", reason="status_422", attempts=1, passing=False)
            return await good.complete(prompt, sampling)

    (scores,) = evaluate(Failing(str), exams(folder, settings), settings, "one").datasets
    assert scores.counts["pairs_failed/status_422"] == scores.counts["answers_failed/status_422"] == 3
    assert scores.contexts == 40
    assert scores.pair_quality is not None
    assert (scores.pair_quality.mean, scores.pair_quality.number) == (1.0, 37)

    class Dead(Told):
        async def complete(self, prompt: str, sampling: Any) -> Any:
            raise RequestFailed("No.", reason="timeout", attempts=1, passing=True)

    with pytest.raises(EngineError, match=r"failed on 11 of 11 texts \(timeout: 11\)"):
        evaluate(Dead(str), exams(folder, settings), settings, "one")


def test_a_token_limit_that_leaves_no_room_is_an_error_before_the_first_request(tmp_path: Path) -> None:
    folder = write_collection(tmp_path, {"one": 3})
    engine = Told(str, max_total_tokens=410)
    with pytest.raises(SettingsError, match="max_new_tokens=400"):
        evaluate(engine, exams(folder, EvaluationSettings()), EvaluationSettings(), "one")
    assert engine.prompts == []


@pytest.mark.parametrize(
    ("completion", "response", "closed"),
    [
        (" 1907 </END>\n\n<QUE> Who? <ANS> She </END>", "1907", True),
        (" 1907", "1907", False),
        ("", "", False),
        (" 1907 <QUE> Who?", "1907", False),
        ("</END>", "", True),
        (" a\nTherefore, the answer is 4 </END>", "a\nTherefore, the answer is 4", True),
    ],
)
def test_an_answer_ends_at_the_first_marker(completion: str, response: str, closed: bool) -> None:
    assert read_answer(completion) == (response, closed)


def test_files_hold_what_was_answered_and_look_as_they_should(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "data", {"seen set": 5, "unseen & set": 5, "a third": 5})
    known = as_people_do(folder)

    def answer(prompt: str) -> str:
        told = known.answer(prompt)
        return told if "unseen" not in prompt else " by </END>" if prompt.endswith("<ANS>") else "nothing"

    settings = EvaluationSettings(contexts=4)
    out = tmp_path / "out"
    marks = {"seen set": True, "unseen & set": False}
    evaluation = evaluate(Told(answer), exams(folder, settings, marks), settings, "data", out)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "predictions.jsonl", "results.json", "scores.svg"]
    assert Evaluation.model_validate_json((out / "results.json").read_bytes()) == evaluation
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    for row in rows:
        assert row["gold_pairs"] == gold(folder)[row["context"]]
        assert row["pairs"] == ([] if row["dataset"] == "unseen & set" else row["gold_pairs"])
    drawn = (out / "scores.svg").read_text()
    assert [each.text for each in ElementTree.fromstring(drawn).iter() if each.text == "unseen & set"]
    shown = "\n".join(" | ".join(row) for row in table(evaluation)) + "\n"
    for name, text in (("scores.svg", drawn), ("scores.txt", shown)):
        if os.environ.get("UPDATE_GOLDEN"):
            GOLDEN.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_text(text, "utf-8")
        assert (GOLDEN / name).read_text("utf-8") == text


def test_nothing_that_was_answered_is_asked_again(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "data", {"one": 12})
    settings, out = EvaluationSettings(questions=1), tmp_path / "out"
    good = as_people_do(folder)

    class Gone(Told):
        async def complete(self, prompt: str, sampling: Any) -> Any:
            if len(self.prompts) >= 9:
                await asyncio.sleep(0.2)
                raise EngineUnavailable("The server is gone.")
            self.prompts.append((prompt, sampling))
            return await good.complete(prompt, sampling)

    gone = Gone(str, concurrent=2)
    with pytest.raises(EngineUnavailable):
        evaluate(gone, exams(folder, settings), settings, "one", out)
    assert not (out / "results.json").exists()
    kept = sum(len(path.read_text().splitlines()) for path in (out / ".journal").iterdir())
    assert kept == 9
    again = as_people_do(folder)
    again.info = gone.info
    evaluation = evaluate(again, exams(folder, settings), settings, "one", out)
    assert len(again.prompts) == 24 - kept
    assert evaluation.datasets == evaluate(as_people_do(folder), exams(folder, settings), settings, "one").datasets


def test_what_a_synthesizer_was_tuned_on_is_not_measured_on(tmp_path: Path) -> None:
    rows = [record("part", number) for number in range(12)]
    write_part(tmp_path / "data", "part", rows[:8])
    write_part(tmp_path / "data", "other", [record("other", 1)])
    write_part(tmp_path / "data", "all", rows[:3])
    write_part(tmp_path / "dev", "part", rows[8:])
    held_out = [digest(row["context"]) for row in rows[:2]]
    datasets = [TunedOn(name="part", seen=True, held_out=[f"{key:016x}" for key in held_out]),
                TunedOn(name="all", seen=True)]  # fmt: skip
    tuned = facts(data=DataFacts(name="data", digest="", datasets=datasets))
    said: list[str] = []
    settings = EvaluationSettings()
    found = exams_of(open_parts(tmp_path / "data"), settings, tuned=tuned, said=said.append)
    assert {exam.name: (exam.seen, len(exam.cases)) for exam in found} == {"other": (False, 1), "part": (True, 2)}
    assert {digest(case.example["context"]) for exam in found for case in exam.cases if exam.seen} == set(held_out)
    assert said == ["all is passed over: none of its contexts was held out."]
    (exam,) = exams_of(open_parts(tmp_path / "dev"), settings, tuned=tuned, said=said.append)
    assert (exam.seen, len(exam.cases)) == (True, 4)
    assert "another part than it was tuned on" in said[-1]
    with pytest.raises(SettingsError, match="nothing was held out"):
        exams_of(open_parts(tmp_path / "data", ["all"]), settings, tuned=tuned)
    assert [exam.seen for exam in exams_of(open_parts(tmp_path / "dev"), settings)] == [None]

"""TweetQA: questions about tweets that journalists quoted, answered in free words; of several answers the first."""

from collections.abc import Iterator

from hub_instructpt.collection import Hub, Licence, Question, Rejected, Release, Row, Source
from hub_instructpt.collection.files import json_items


def questions(row: Row) -> Iterator[Question]:
    answers = row.get("Answer", [])
    if not isinstance(answers, list):
        raise TypeError("answers that are no list")
    if not answers:
        raise Rejected("hidden_test_label")
    yield Question(row["Tweet"], row["Question"], answers[0])


SOURCE = Source(
    name="tweet_qa",
    title="Questions about tweets that journalists quoted, answered in free words.",
    homepage="https://tweetqa.github.io/",
    hub=Hub("ucsbnlp/tweet_qa", num_rows=10_692),
    licence=Licence(
        "CC BY-SA 4.0 (the tweets: terms of X)",
        "cc-by-sa-4.0",
        share_alike=True,
        redistributable=False,
        note="The tweets stand under the terms of X, which do not clearly allow copies to be passed on.",
    ),
    citation="""@inproceedings{xiong-etal-2019-tweetqa,
  title = {{TWEETQA}: A Social Media Focused Question Answering Dataset},
  author = {Xiong, Wenhan and Wu, Jiawei and Wang, Hong and Kulkarni, Vivek and Yu, Mo and Chang, Shiyu and
    Guo, Xiaoxiao and Wang, William Yang},
  booktitle = {Proceedings of ACL},
  year = {2019},
  url = {https://aclanthology.org/P19-1496}
}""",
    qa_type="free-form",
    questions=questions,
    example=(
        {
            "Question": "what is closed today?",
            "Answer": ["the harbour bridge", "the bridge"],
            "Tweet": "The harbour bridge is closed today because of the wind. City Council (@council) May 3, 2016",
            "qid": "a1",
        },
        {
            "context": "The harbour bridge is closed today because of the wind. City Council (@council) May 3, 2016",
            "QA_list": [{"Q": "what is closed today?", "A": "the harbour bridge"}],
            "QA_type": "free-form",
            "rc_name": "tweet_qa",
        },
    ),
    release=[Release(f"**/{split}.json", json_items()) for split in ("train", "dev", "test")],
)

records = SOURCE.records

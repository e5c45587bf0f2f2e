"""Collections on the Hub: made, brought up to date, never twice; and the cards of what is in them.

Through the command line and the real huggingface_hub in a process of its own, against a double of the Hub over HTTP.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt.errors import SettingsError
from hub_instructpt.hub import Item
from tests.push_cases import client, make_run

pytestmark = pytest.mark.xdist_group("push")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def test_a_collection_is_made_once_and_brought_up_to_date(hub: str, run: Path, tmp_path: Path) -> None:
    client(
        """
        hub.push(run, "tester/web")
        hub.push(run, "lab/more")
        control("commit", {"repo": "tester/model", "type": "model", "files": {"README.md": "# Mine\\n"}})
        page = text("tester/web").decode() + "\\nAnd below.\\n"
        control("commit", {"repo": "tester/web", "files": {"README.md": page}})
        adding = ["collection", "create", "Instruction pre-training", "--add", "tester/web=General <b>texts</b>",
                  "--add", "model:tester/model", "--add", "2406.14491=The method"]
        status, out, err = cli(*adding)
        assert status == 0 and out.endswith("(3 items)\\n"), (out, err)
        assert "The card of tester/model has no part of hub-instructpt" in err
        [collection] = api.list_collections(owner="tester")
        items = lambda: [(i.item_type, i.item_id, i.note) for i in api.get_collection(collection.slug).items]
        assert items() == [("dataset", "tester/web", "General <b>texts</b>"), ("model", "tester/model", None),
                           ("paper", "2406.14491", "The method")]
        card = text("tester/web").decode()
        assert "And below." in card and card.count("hub-instructpt:begin links") == 1
        assert f"[Instruction pre-training](https://huggingface.co/collections/{collection.slug})" in card
        assert "- model [tester/model](https://huggingface.co/tester/model)\\n" in card
        assert "papers/2406.14491" in card and "datasets/tester/web" not in card
        assert api.dataset_info("tester/web").sha

        head = api.dataset_info("tester/web").sha
        control("reset", {"only": ["requests"]})
        status, out, err = cli(*adding)
        assert status == 0 and "3 items, nothing has changed" in out, out
        assert not [r for r in control("requests") if r["method"] != "GET"], "the same again only reads"
        assert api.dataset_info("tester/web").sha == head

        # More of them, another note, another description: what is there stays, in its place.
        status, out, err = cli(*adding[:3], "--add", "https://huggingface.co/datasets/lab/more", "--private",
                               "--add", "tester/web=Web texts", "--description", "All.")
        assert status == 0, err
        assert items() == [("dataset", "tester/web", "Web texts"), ("model", "tester/model", None),
                           ("paper", "2406.14491", "The method"), ("dataset", "lab/more", None)]
        now = api.get_collection(collection.slug)
        assert (now.description, now.private) == ("All.", True)
        assert "datasets/lab/more" in text("tester/web").decode() and "Web texts" in text("lab/more").decode()

        # A push after it keeps the part, and the part makes no difference to a push.
        assert not hub.push(run, "tester/web").changed
        assert hub.push(run, "tester/web", config_name="again").changed
        card = text("tester/web").decode()
        assert card.count("hub-instructpt:begin links") == 1 and "Web texts" not in card and "lab/more" in card
        """,
        hub, run, run, tmp_path,
    )  # fmt: skip


def test_faults_and_refusals(hub: str, run: Path, tmp_path: Path) -> None:
    client(
        """
        import logging
        logging.disable(logging.WARNING)
        failures.FIRST_WAIT_SECONDS = 0.01
        hub.push(run, "tester/web")
        for number, fault in enumerate([
            {"match": "POST /api/collections$", "status": 503}, {"match": "POST /api/collections$", "cut": "reply"},
            {"match": "POST .*/items", "cut": "reply"}, {"match": "GET /api/collections", "status": 429},
            {"match": "POST .*/commit/", "status": 412}, {"match": "POST .*/items", "status": 500, "applied": True},
        ]):
            control("reset", {"only": ["faults"]})
            control("faults", fault)
            done = hub.gather(f"Number {number}", [hub.Item("tester/web", note="n"), hub.Item("2406.14491", "paper")])
            assert [item.name for item in done.items] == ["tester/web", "2406.14491"], fault
            assert not done.notes, (fault, done.notes)
            assert len([c for c in api.list_collections(owner="tester") if c.title == f"Number {number}"]) == 1, fault
        for words, code, arguments, env in (
            (["no dataset or model tester/none"], 1, ["T", "--add", "tester/none"], {}),
            (["no token", "hf auth login"], 1, ["T", "--add", "tester/web"], {"HF_TOKEN": ""}),
            (["no right", "write token"], 1, ["T"], {"HF_TOKEN": "hf_read"}),
            (["no right"], 1, ["T", "--namespace", "stranger"], {}),
            (["1 to 60 characters"], 2, ["x" * 61], {}),
            (["no member of a collection"], 2, ["T", "--add", "nothing"], {}),
            (["more than 500"], 2, ["T", "--add", "tester/web=" + "x" * 501], {}),
        ):
            status, out, err = cli("collection", "create", *arguments, **env)
            assert status == code and all(word in err for word in words), (status, out, err)
            assert err.count("\\n") == 1 and "hf_" not in err.replace("hf_write", ""), err
        """,
        hub, run, run, tmp_path,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("a/b", Item("a/b")),
        (" a/b = a note = more ", Item("a/b", None, "a note = more")),
        ("dataset:a/b", Item("a/b", "dataset")),
        ("datasets/a/b", Item("a/b", "dataset")),
        ("https://huggingface.co/datasets/a/b/", Item("a/b", "dataset")),
        ("https://huggingface.co/a/b=n", Item("a/b", None, "n")),
        ("https://huggingface.co/papers/2406.14491", Item("2406.14491", "paper")),
        ("spaces/a/b", Item("a/b", "space")),
        ("2406.14491", Item("2406.14491", "paper")),
    ],
)
def test_members_are_read_as_people_write_them(text: str, item: Item) -> None:
    assert Item.parse(text) == item


@given(st.text())
def test_whatever_is_no_member_is_refused_in_words(text: str) -> None:
    with contextlib.suppress(SettingsError):
        item = Item.parse(text)
        assert item.name.count("/") == (item.kind != "paper")

"""Where a push goes: as one config beside others, to a branch, as a pull request; and a folder that is full.

Through the real huggingface_hub and datasets in a process of its own, against a double of the Hub over HTTP.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_instructpt.errors import SettingsError
from hub_instructpt.hub.layout import Layout, configs_in
from tests.push_cases import client, make_part, make_run

pytestmark = pytest.mark.xdist_group("push")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), "--license", "mit")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another corpus, from other texts and under another licence."""
    return make_run(tmp_path_factory.mktemp("other"), "--license", "cc-by-4.0", rows=3, name="medicine")


def test_corpora_share_a_repo_as_configs(hub: str, run: Path, other: Path, tmp_path: Path) -> None:
    make_part(run, tmp_path / "part")
    client(
        """
        from datasets import get_dataset_config_names, load_dataset
        other, repo = part, "tester/shared"
        part = here / "part"
        def files():
            found = api.list_repo_files(repo, repo_type="dataset")
            return {path for path in found if path != ".gitattributes" and not path.endswith(".svg")}
        assert hub.push(run, repo, config_name="general").config == "general"
        assert files() == {"README.md", "general/manifest.json", *(f"general/train-0000{n}.parquet" for n in range(3))}
        page = text(repo).decode().replace("\\n---\\n\\n", "\\n---\\n\\nMy own words.\\n\\n", 1) + "\\nAnd below.\\n"
        control("commit", {"repo": repo, "files": {"README.md": page}})

        status, out, err = cli("push", other, repo, "--config-name", "medicine")
        assert status == 0 and f'load_dataset("{repo}", "medicine", split="train")' in out, (out, err)
        assert get_dataset_config_names(repo) == ["general", "medicine"]
        assert load_dataset(repo, "general", split="train").num_rows == 5
        assert load_dataset(repo, "medicine", split="train").num_rows == 3
        kept = text(repo).decode()
        for words in ("My own words.", "And below.", "<!-- hub-instructpt:begin general -->",
                      "<!-- hub-instructpt:begin medicine -->", f'"{repo}", "general"', f'"{repo}", "medicine"'):
            assert kept.count(words) == 1, (words, kept)
        assert sorted(api.dataset_info(repo).card_data.license) == ["cc-by-4.0", "mit"]

        # Each of them again: nothing to do. One of them shrunk: its own shard goes, and nothing else.
        for folder, name in ((run, "general"), (other, "medicine"), (run, "general")):
            assert not hub.push(folder, repo, config_name=name).changed, name
        control("reset", {"only": ["requests"]})
        assert hub.push(part, repo, config_name="general").changed
        assert not [r for r in control("requests") if r["method"] == "PUT"]
        assert "general/train-00002.parquet" not in files() and "medicine/train-00001.parquet" in files()
        assert load_dataset(repo, "medicine", split="train").num_rows == 3

        # The default config beside them, and what is of somebody else.
        assert hub.push(other, repo).config is None
        assert load_dataset(repo, "default", split="train").num_rows == 3
        assert get_dataset_config_names(repo) == ["general", "medicine", "default"]
        assert {"data/train-00000.parquet", "manifest.json", "general/manifest.json"} <= files()
        assert hub.push(other, "tester/second").changed
        assert hub.push(run, "tester/second", config_name="general").changed
        assert get_dataset_config_names("tester/second") == ["default", "general"]
        assert load_dataset("tester/second", split="train").num_rows == 3
        control("commit", {"repo": repo, "files": {"finance/rows.parquet": "PAR1"}})
        refused(1, ["another dataset in the folder finance", "new repo"], run, repo, "--config-name", "finance")
        for wrong in ("data", "a b", "../x", "a/b", "", "a--b", "x" * 97):
            refused(2, ["name of a config"], run, repo, "--config-name", wrong)
        status, out, err = cli("verify", repo)
        assert status == 0 and "10 rows" in out, (out, err)  # 4, and twice 3; what is not ours is not judged
        """,
        hub, run, other, tmp_path,
    )  # fmt: skip


def test_a_branch_and_a_pull_request(hub: str, run: Path, tmp_path: Path) -> None:
    part = make_part(run, tmp_path / "part")
    client(
        """
        from datasets import load_dataset
        repo = "tester/branched"
        status, out, err = cli("push", part, repo, "--revision", "v1")
        assert status == 0 and 'revision="v1"' in out, (out, err)
        assert [f for f in api.list_repo_files(repo, repo_type="dataset")] == [".gitattributes"]
        assert load_dataset(repo, split="train", revision="v1").num_rows == 4
        assert not hub.push(part, repo, revision="v1").changed
        assert hub.push(run, repo, revision="v2").changed
        assert load_dataset(repo, split="train", revision="v2").num_rows == 5

        # A pull request leaves main as it is; the same again finds it instead of opening another.
        assert hub.push(part, repo).changed
        head = api.dataset_info(repo).sha
        status, out, err = cli("push", run, repo, "--create-pr")
        assert status == 0 and f"{url}/datasets/{repo}/discussions/1 (commit" in out, (out, err)
        assert api.dataset_info(repo).sha == head
        assert load_dataset(repo, split="train", revision="refs/pr/1").num_rows == 5
        status, out, err = cli("push", run, repo, "--create-pr")
        assert "discussions/1 (nothing has changed" in out, (out, err)
        control("faults", {"match": "POST .*/commit/", "status": 503, "applied": True})
        failures.FIRST_WAIT_SECONDS = 0.01
        manifest = (run / "manifest.json").read_text()
        (run / "manifest.json").write_text(manifest.replace('"license": "mit"', '"license": "isc"'))
        done = hub.push(run, repo, create_pr=True)
        (run / "manifest.json").write_text(manifest)
        assert done.pull_request.endswith("/discussions/2") and done.changed, done
        assert len(api.list_repo_refs(repo, repo_type="dataset", include_pull_requests=True).pull_requests) == 2
        assert not hub.push(part, repo, create_pr=True).changed
        """,
        hub, run, part, tmp_path,
    )  # fmt: skip


def test_a_commit_that_would_be_too_large_is_made_in_parts(hub: str, run: Path, tmp_path: Path) -> None:
    """What names the shards comes with the last part, and folders hold no more than they may."""
    client(
        """
        from hub_instructpt.hub import layout, uploads
        from hub_instructpt.cards import metadata
        from datasets import load_dataset
        figures = len(list((run / "figures").glob("*")))
        pushing.FILES_IN_A_COMMIT, uploads.FILES_AT_ONCE = 4 + figures, 1
        layout.FILES_IN_A_FOLDER = metadata.FILES_IN_A_FOLDER = 2
        repo = "tester/large"
        assert hub.push(run, repo).changed
        files = set(api.list_repo_files(repo, repo_type="dataset"))
        assert {"data/train-00000.parquet", "data/train-00001.parquet", "data/00001/train-00002.parquet"} <= files
        titles = commits(repo)
        assert [t.partition("(part ")[2] for t in titles] == ["2 of 2)", "1 of 2)", ""], titles
        assert load_dataset(repo, split="train").num_rows == 5
        assert not hub.push(run, repo).changed
        assert hub.push(part, repo).changed
        assert "data/00001/train-00002.parquet" not in api.list_repo_files(repo, repo_type="dataset")
        assert load_dataset(repo, split="train").num_rows == 4
        """,
        hub, run, make_part(run, tmp_path / "part"), tmp_path,
    )  # fmt: skip


@given(st.integers(0, 10**7), st.sampled_from([None, "general", "a.b-c_d"]))
def test_where_a_shard_goes_follows_from_its_number_alone(number: int, config: str | None) -> None:
    layout = Layout.named(config)
    path = layout.path(f"data/train-{number:05d}.parquet")
    assert layout.is_ours(path)
    folder = path.rpartition("/")[0]
    assert folder == (config or "data") + (f"/{number // 10_000:05d}" if number >= 10_000 else "")
    others = [Layout(name) for name in (None, "general", "a.b-c_d", "a.b") if name != config]
    assert not any(other.is_ours(path) for other in others)


@pytest.mark.parametrize("name", ["", "data", "packed", "Figures", "default", "-x", "x-", "a/b", "a..b", "é", "x" * 97])
def test_names_that_are_no_folders_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="name of a config"):
        Layout.named(name)


def test_configs_are_known_by_their_manifests() -> None:
    assert configs_in(["manifest.json", "b/manifest.json", "a/manifest.json", "a/b/manifest.json", "c/x.json"]) == [
        "a",
        "b",
    ]

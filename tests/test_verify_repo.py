"""`verify NAMESPACE/NAME`: a repo is downloaded and checked, and every kind of damage is found and named.

Through the real huggingface_hub in a process of its own, against a double of the Hub over HTTP.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import run_cli
from tests.push_cases import client, make_run

pytestmark = pytest.mark.xdist_group("push")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def test_what_was_pushed_is_found_in_order_and_every_damage_is_named(hub: str, run: Path, tmp_path: Path) -> None:
    client(
        """
        import base64, logging
        logging.disable(logging.WARNING)
        failures.FIRST_WAIT_SECONDS = 0.01
        repo = "tester/checked"
        hub.push(run, repo)
        status, out, err = cli("verify", repo)
        size = sum(path.stat().st_size for path in run.glob("data/*"))
        assert status == 0 and f"3 files, 5 rows, {size:,} bytes" in out and "everything is as" in out, (out, err)
        head = api.dataset_info(repo).sha
        os.environ.pop("HF_TOKEN")  # what is public needs no token
        assert hub.verify_repo(repo, head[:10]).findings == [] == hub.verify_repo(repo, "main").findings
        os.environ["HF_TOKEN"] = "hf_write"

        def whole(path):
            return {"base64": base64.b64encode(path.read_bytes()).decode()}

        good = {"manifest.json": (run / "manifest.json").read_text(), "README.md": text(repo).decode()}
        good |= {f"data/{path.name}": whole(path) for path in run.glob("data/*")}
        manifest = json.loads(good["manifest.json"])
        first = manifest["shards"][0]
        other = whole(run / "data/train-00001.parquet")
        broken = {"base64": base64.b64encode(b"PAR1 and no more").decode()}
        wrong = json.dumps({**manifest, "shards": [{**first, "num_rows": 7}, *manifest["shards"][1:]]})
        fewer = json.dumps({**manifest, "shards": manifest["shards"][:2]})
        damaged = good["manifest.json"].replace('"seed": 0', '"seed": "x"')
        splits = good["README.md"].replace("num_examples: 5", "num_examples: 6")
        for said, files in (
            ("data/train-00001.parquet: it is missing", {"data/train-00001.parquet": None}),
            ("data/train-00000.parquet: it is another file", {"data/train-00000.parquet": other}),
            ("data/train-00000.parquet: it is another file", {"data/train-00000.parquet": broken}),
            ("it has 2 rows, the manifest says 7", {"manifest.json": wrong}),
            ("data/train-00002.parquet: the manifest does not name it", {"manifest.json": fewer}),
            ("manifest of a finished run lacks it", {"manifest.json": fewer}),
            ("manifest.json: damaged", {"manifest.json": damaged}),
            ("README.md is missing", {"README.md": None}),
            ("README.md says that default has 6 rows", {"README.md": splits}),
            ("README.md does not declare the config default", {"README.md": "# nothing"}),
            ("README.md: The metadata", {"README.md": "---\\nlicense: [\\n---\\n"}),
        ):
            control("commit", {"repo": repo, "files": good})
            control("commit", {"repo": repo, "files": files})
            status, out, err = cli("verify", repo)
            assert status == 1 and said in out and "push" in err, (said, out, err)
        assert cli("verify", repo, "--revision", head)[0] == 0
        control("commit", {"repo": repo, "files": good})

        # Trouble on the way is no damage.
        for fault in ({"match": "GET .*/tree/", "status": 503}, {"match": "resolve/.*parquet", "status": 503},
                      {"match": "GET .*resolve/.*parquet", "cut": "reply"},
                      {"match": "GET .*manifest", "cut": "reply"}):
            control("reset", {"only": ["faults"]})
            control("faults", fault)
            assert hub.verify_repo(repo).findings == [], fault

        control("reset", {"only": ["faults"]})
        gated = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this dataset is restricted."}
        control("faults", {"match": "GET .*/tree/", "status": 403, "headers": gated})
        status, out, err = cli("verify", repo)
        assert status == 1 and "let in" in err and "Ask for access" in err, (status, out, err)
        class Full(Exception):
            class response:
                status_code, headers = 429, {"RateLimit": '"api";r=0;t=54'}
        assert failures.wait_before_next(Full(), 1) == 55.0

        for words, arguments in (
            (["no dataset tester/none", "HF_TOKEN"], ["tester/none"]),
            (["revision 'v9'"], [repo, "--revision", "v9"]),
        ):
            status, out, err = cli("verify", *arguments)
            assert status == 2 and all(word in err for word in words), (status, err)
        control("commit", {"repo": "tester/strange", "files": {"rows.jsonl": "{}"}})
        status, out, err = cli("verify", "tester/strange")
        assert status == 2 and "nothing that was pushed by hub-instructpt" in err
        """,
        hub, run, run, tmp_path,
    )  # fmt: skip


def test_a_folder_is_taken_before_a_repo(run: Path, tmp_path: Path) -> None:
    done = run_cli("verify", run)
    assert done.returncode == 0, done.stderr
    assert "everything is as the manifest says" in done.stdout
    done = run_cli("verify", "./tester/none")
    assert done.returncode == 2
    assert "holds no run" in done.stderr

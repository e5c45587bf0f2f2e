"""Dataset cards: a manifest becomes a README with the metadata that the Hub and `datasets` read.

Keeps true: everything comes from the manifest, and what is unknown is left out; `dataset_info` agrees with the files;
text from outside can not break the page or the YAML. On a second push the parts that a person wrote survive: ours
stand between two marks, and of the metadata we touch only our own keys, and no value that a person has changed.
Does not know the Hub's API.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pyarrow.parquet as pq
import yaml

from hub_instructpt import resources
from hub_instructpt.errors import CardError
from hub_instructpt.runs.files import write_text
from hub_instructpt.runs.manifest import Manifest

BEGIN = "<!-- hub-instructpt: begin of the generated part; what stands outside of it is kept -->"
END = "<!-- hub-instructpt: end of the generated part -->"
TINY = "hub-instructpt/tiny-synthesizer"
ENGINE_NAMES = {
    "tgi": "text-generation-inference",
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llama.cpp": "llama.cpp",
    "transformers serve": "transformers serve",
    "openai": "OpenAI-compatible server",
    "local": "in process",
}
CONFIG, DATA_FILES = "default", "data/train-*.parquet"
MEND = "Mend README.md, or move it away."

# Upper bounds of the Hub's size categories.
SIZES = {
    1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M",
    100_000_000: "10M<n<100M", 1_000_000_000: "100M<n<1B", 10_000_000_000: "1B<n<10B", 100_000_000_000: "10B<n<100B",
    1_000_000_000_000: "100B<n<1T",
}  # fmt: skip

# Keys that are a matter of judgement: a person's value stays. The others follow from the files.
JUDGED = ("pretty_name", "license", "license_name", "language", "language_bcp47", "task_categories", "source_datasets")
LONGEST = 300
"""Characters of a name that a card shows."""


def engine_name(kind: str) -> str:
    """What users call a kind of engine."""
    return " and ".join(ENGINE_NAMES.get(one, one) for one in kind.split("+"))  # a fleet may have several


def write_card(folder: Path, repo_id: str | None = None) -> Path:
    """Write `README.md` of a run directory; parts of an earlier one that a person wrote are kept.

    Args:
        repo_id: where the corpus will lie on the Hub; the example of how to load it names it.
    """
    path = folder / "README.md"
    write_text(path, render_card(Manifest.load(folder), folder, repo_id, read_card(folder)))
    return path


def read_card(folder: Path) -> str | None:
    """The card in a run directory, if there is one.

    Raises:
        CardError: it is not text.
    """
    path = folder / "README.md"
    return decode_card(path.read_bytes()) if path.exists() else None


def decode_card(content: bytes) -> str:
    """A card as text, without a byte order mark and with one kind of line end.

    Raises:
        CardError: it is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CardError(f"The card is not UTF-8 (byte {error.start + 1}).", advice=MEND) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def render_card(manifest: Manifest, folder: Path, repo_id: str | None = None, earlier: str | None = None) -> str:
    """The card of a run.

    Args:
        manifest: of the run.
        folder: the run directory; the columns are read from its first shard.
        repo_id: the repo it is for.
        earlier: a card that it takes the place of.

    Raises:
        CardError: the earlier card is broken, so that what a person wrote there could be lost.
    """
    ours = card_metadata(manifest, folder)
    theirs, body = split_card(earlier or "")
    metadata = merge_metadata(theirs, ours, written_before(body)) if theirs else ours
    part = _template().render(_values(manifest, repo_id, metadata), written=digests(ours)).strip()
    return page(metadata, merge_body(body, part))


def card_metadata(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """The YAML part of the card. Keys whose value is unknown are left out."""
    num_rows = sum(shard.num_rows for shard in manifest.shards)
    metadata: dict[str, Any] = {
        "pretty_name": flat(_title(manifest)),
        **license_metadata([manifest.license] if manifest.license else manifest.source.license or []),
        **language_metadata(manifest.source.language or []),
        "task_categories": ["text-generation"],
        "size_categories": [next((name for bound, name in SIZES.items() if num_rows < bound), "n>1T")],
        "source_datasets": [manifest.source.name] if manifest.source.kind == "hub" else None,
        "tags": ["instruction-pretraining", "instruction-augmented", "synthetic", "hub-instructpt"],
        "configs": [{"config_name": CONFIG, "data_files": [{"split": "train", "path": DATA_FILES}]}],
        "dataset_info": _dataset_info(manifest, folder),
    }
    return {key: value for key, value in metadata.items() if value}


def license_metadata(names: list[str]) -> dict[str, Any]:
    """The Hub takes only identifiers that it knows; any other licence is `other`, with its name beside."""
    known = knowledge("licences.yaml")["known"].split()
    ids = list(dict.fromkeys(name.lower() if name.lower() in known else "other" for name in names))
    others = [name for name in names if name.lower() not in known]
    return {"license": ids[0] if len(ids) == 1 else ids, "license_name": ", ".join(others)}


def language_metadata(codes: list[str]) -> dict[str, Any]:
    """The Hub takes ISO 639 codes; longer tags such as zh-CN have a key of their own, and the rest is no language."""
    iso = [code.lower() for code in codes if re.fullmatch(r"[A-Za-z]{2,3}|code|multilingual", code)]
    tags = [code for code in codes if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})+", code)]
    iso += [tag.partition("-")[0].lower() for tag in tags]
    return {"language": list(dict.fromkeys(iso)), "language_bcp47": list(dict.fromkeys(tags))}


def _dataset_info(manifest: Manifest, folder: Path) -> dict[str, Any] | None:
    if not manifest.shards:
        return None
    import datasets

    schema = pq.read_schema(folder / manifest.shards[0].path)
    size = sum(shard.arrow_bytes for shard in manifest.shards)
    split = datasets.SplitInfo("train", size, sum(shard.num_rows for shard in manifest.shards))
    info = datasets.DatasetInfo(
        features=datasets.Features.from_arrow_schema(schema),
        splits=datasets.SplitDict({"train": split}),
        download_size=sum(shard.num_bytes for shard in manifest.shards),
        dataset_size=size,
    )
    data: dict[str, Any] = {}
    datasets.info.DatasetInfosDict({CONFIG: info}).to_dataset_card_data(data)
    return dict(data["dataset_info"])


# -- a card that is there already ----------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML as the Hub reads it, which is 1.2: a bare `no` is Norwegian, and 12:30 is no number."""


class _Dumper(yaml.SafeDumper):
    """YAML that 1.1 (`datasets`) and 1.2 (the Hub) read alike: what either takes for no text gets quotes."""


_PLAIN = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+", "-+0123456789"),
    "float": (r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, (_pattern, _firsts) in _PLAIN.items():
    for _reader in (_Loader, _Dumper):
        _reader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_firsts))


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML reads these line breaks of YAML 1.1 back as they were only where it has escaped them.
    style = '"' if re.search("[\x85\u2028\u2029\ufeff]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def split_card(card: str) -> tuple[dict[str, Any], str]:
    """Metadata and body of a card.

    Raises:
        CardError: the metadata are no YAML mapping.
    """
    begun = re.match(r"\s*---[ \t]*\n", card)
    if not begun:
        return {}, card
    ended = re.compile(r"^---[ \t]*(?:\n|\Z)", re.MULTILINE).search(card, begun.end())
    if not ended:
        raise CardError("The metadata of the card begin with '---' and never end.", advice=MEND)
    try:
        metadata = yaml.load(card[begun.end() : ended.start()], _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" (line {line + card[: begun.end()].count(chr(10)) + 1})"
        raise CardError(f"The metadata of the card are not YAML{where}.", advice=MEND) from None
    if metadata is not None and not isinstance(metadata, dict):
        raise CardError("The metadata of the card are no mapping.", advice=MEND)
    return metadata or {}, card[ended.end() :]


def merge_metadata(theirs: dict[str, Any], ours: dict[str, Any], written: dict[str, str]) -> dict[str, Any]:
    """Ours over theirs; other configs, further keys and tags, and what a person has judged stay.

    Args:
        theirs: of the card that is there.
        ours: of the run.
        written: digests of what we wrote there the last time, by key: what differs was changed by a person.
    """
    changed = {key for key in JUDGED if key in theirs and _digest(theirs[key]) != written.get(key)}
    if "license" in changed:  # a licence that a person has set takes no name from ours
        changed.add("license_name")
    merged = {
        key: theirs[key] if key in changed or key not in ours else ours[key]
        for key in dict.fromkeys([*theirs, *ours])  # a card that is rendered again keeps its order
        if key in ours or key not in JUDGED or key in changed
        if key not in changed or key in theirs
    }
    merged["tags"] = list(dict.fromkeys([*map(str, _list(theirs.get("tags"))), *ours["tags"]]))
    merged["configs"] = [*ours["configs"], *_others(theirs.get("configs"))]
    infos = _others(theirs.get("dataset_info"))
    if "dataset_info" in ours and infos:
        merged["dataset_info"] = [{"config_name": CONFIG, **ours["dataset_info"]}, *infos]
    elif "dataset_info" not in ours:
        merged["dataset_info"] = infos
    return {key: value for key, value in merged.items() if key not in ours or value}


def _others(value: Any) -> list[dict[str, Any]]:
    """What is said of configs that are not ours."""
    return [item for item in _list(value) if isinstance(item, dict) and item.get("config_name", CONFIG) != CONFIG]


def merge_body(theirs: str, ours: str) -> str:
    """Our part in its place; a body that has no such place gets ours below.

    Raises:
        CardError: the place has lost one of its ends, so nobody can tell what is whose.
    """
    if BEGIN not in theirs and END not in theirs:
        return f"{theirs.strip()}\n\n{ours}" if theirs.strip() else ours
    start, stop = theirs.find(BEGIN), theirs.find(END)
    if theirs.count(BEGIN) != 1 or theirs.count(END) != 1 or start > stop:
        raise CardError(
            "The generated part of the card has lost one of the two comments around it, or has them twice.",
            advice="Put them back, or remove both and what stands between.",
        )
    return theirs[:start] + ours + theirs[stop + len(END) :]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def digests(metadata: dict[str, Any]) -> str:
    return " ".join(f"{key}={_digest(metadata[key])}" for key in JUDGED if key in metadata)


def written_before(body: str) -> dict[str, str]:
    found = re.search(r"<!-- hub-instructpt: wrote ([^>]*)-->", body)
    return dict(item.split("=", 1) for item in found[1].split() if "=" in item) if found else {}


def page(metadata: dict[str, Any], body: str) -> str:
    front = yaml.dump(metadata, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{body.strip()}\n"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


# -- what the template is given --------------------------------------------------------------------------------------


def _values(manifest: Manifest, repo_id: str | None, metadata: dict[str, Any]) -> dict[str, Any]:
    counts = manifest.counts

    def group(name: str) -> list[tuple[str, int]]:
        return counts_of(manifest, name)

    without = sum(number for _, number in group("texts_without_pairs"))
    with_pairs = counts["texts/all"] - without
    source, engine, limit = manifest.source, manifest.engine, manifest.settings.limit
    tiny = engine.model_id == TINY
    on_hub = not tiny and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", engine.model_id) is not None
    inherited = (
        not manifest.license
        and source.license is not None
        and metadata.get("license") == license_metadata(source.license)["license"]
    )
    dates = list(dict.fromkeys([manifest.created_at[:10], manifest.updated_at[:10]]))
    return {
        "begin": BEGIN,
        "end": END,
        "m": manifest,
        "counts": counts,
        "group": group,
        "title": _title(manifest),
        "total": min(filter(None, (limit, source.num_rows)), default=None),
        "without_pairs": without,
        "pairs_per_text": f"{counts['pairs/kept'] / with_pairs:.2f}" if with_pairs else None,
        "num_rows": sum(shard.num_rows for shard in manifest.shards),
        "kept": ", ".join(f"`{code_span(name)}`" for name in manifest.kept_types),
        "repo_id": repo_id or "NAMESPACE/NAME",
        "source": linked(source.name, "datasets/", source.kind == "hub")
        + (f", config {markdown(source.config_name)}" if source.config_name else "")
        + (f", split {markdown(source.split)}" if source.split else ""),
        "model": linked(engine.model_id, "", on_hub),
        "tiny": tiny,
        "license": _list(metadata.get("license_name") or metadata.get("license")),
        "license_from": "as its source states" if inherited else "stated by whoever made the corpus",
        "engine_name": engine_name(engine.kind),
        "dates": " to ".join(dates),
    }


def counts_of(manifest: Manifest, group: str) -> list[tuple[str, int]]:
    """Names and numbers of one group of counts, the largest first."""
    found = [(key.partition("/")[2], number) for key, number in manifest.counts.items() if key.startswith(f"{group}/")]
    return sorted(((name, number) for name, number in found if number), key=lambda item: (-item[1], item[0]))


def words(name: str) -> str:
    """What a count is called for people. A name with an open end, such as a status, is found by its beginning."""
    known = knowledge("words.yaml")
    for key in (name, *(f"{name[:at]}_*" for at, letter in enumerate(name) if letter == "_")):
        if key in known:
            return known[key].replace("*", name[len(key) - 1 :])
    return name.replace("_", " ")


def _title(manifest: Manifest) -> str:
    return f"{manifest.source.name}, instruction-augmented"


def linked(name: str, prefix: str, on_hub: bool) -> str:
    if not on_hub or len(name) > LONGEST:
        return markdown(name)
    return f"[{markdown(name)}](https://huggingface.co/{prefix}{quote(name)})"


def flat(text: object) -> str:
    """Text on one line, without what nobody can see; only the beginning of a very long one."""
    flat = "".join(c if c.isprintable() else " " for c in str(text)[: LONGEST + 1])
    return flat if len(flat) <= LONGEST else flat[: LONGEST - 1] + "…"


def markdown(text: object) -> str:
    """Text as itself: nothing in it that Markdown or HTML would read as a sign."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~$!&@:])", lambda found: f"&#{ord(found[0])};", flat(text))


def code_span(text: object) -> str:
    """Text for a code span inside a table: no back ticks, bars or comments, and never empty."""
    return re.sub("[`|]|<!--", " ", flat(text)).strip() or " "


def fenced(text: object) -> str:
    """Text for one line of a fenced block: nothing that would close it, or the generated part."""
    flat = "".join(c if c.isprintable() else " " for c in str(text))
    return re.sub("`{3,}|<!--", lambda found: " ".join(found[0]), flat)


@lru_cache(maxsize=8)
def knowledge(name: str) -> dict[str, str]:
    """A file of cards/ that maps names to words."""
    loaded = yaml.safe_load((resources.find("cards") / name).read_text("utf-8"))
    if not isinstance(loaded, dict) or not all(isinstance(v, str) for v in [*loaded, *loaded.values()]):
        raise CardError(f"cards/{name} must map names to words.")
    return loaded


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.find("cards")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the page is Markdown; every value goes through a filter of ours
    )
    environment.filters |= {"md": markdown, "code": code_span, "fence": fenced, "n": "{:,}".format, "words": words}
    return environment.get_template("corpus.md.jinja")

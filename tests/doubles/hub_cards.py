"""The Hub's rules for the YAML at the top of a README.md, as far as they are known.

What it does: `check_card` parses the front matter and returns the errors (the Hub refuses the card) and the warnings
(it does not) that POST /api/validate-yaml would give, in the Hub's wording where that is on record.

What it keeps true: YAML that does not parse, a key given twice, an unknown licence or size category, an upper-case
language code, and configs without a name or files are errors; no front matter at all is a warning.

What it does not know: the real server's code. The licences are those of an error message it sent in May 2026, the rest
comes from its documentation; it surely checks more (task categories against its list, for one). PyYAML reads YAML 1.1,
where a bare `no` is a boolean; the Hub reads it as a string.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from typing import Any

import yaml

from tests.doubles.hub_store import words

# The closing fence owns its line: `---` followed by more text does not close the block.
FRONT_MATTER = re.compile(r"^\s*---(?:\r\n|\r|\n)(.*?)(?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|$)", re.DOTALL)
LICENSES = words(
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 "
    "bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc "
    "cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 "
    "cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
    "cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 "
    "eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c "
    "ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa "
    "unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 "
    "llama3.2 llama3.3 llama4 grok2-community gemma unknown other"
)
SIZES = words(
    "unknown n<1K 1K<n<10K 10K<n<100K 100K<n<1M 1M<n<10M 10M<n<100M 100M<n<1B 1B<n<10B 10B<n<100B 100B<n<1T n>1T"
)
STRING_LISTS = words(
    "annotations_creators language_creators language_bcp47 multilinguality source_datasets task_categories "
    "task_ids datasets"
)
SPLIT_NAME = re.compile(r"\w+(\.\w+)*")


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, as the Hub's parser does; PyYAML would quietly keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if key.value in seen:
                problem = f"duplicated mapping key {key.value!r}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def card_data(readme: str) -> dict[str, Any]:
    """The card's metadata, empty where there is none or it is broken."""
    match = FRONT_MATTER.match(readme)
    try:
        data = yaml.load(match[1], _StrictLoader) if match else None
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def check_card(readme: str, kind: str = "dataset") -> tuple[list[str], list[str]]:
    """What the Hub would say of this card: (errors, warnings)."""
    match = FRONT_MATTER.match(readme)
    if match is None or not match[1].strip():
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.load(match[1], _StrictLoader)
    except yaml.YAMLError as error:
        return [f"YAML Metadata Error: {error}"], []
    if data is None:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(data, dict):
        return ['"metadata" must be of type object'], []
    return list(_errors(data, kind)), []


def _errors(data: dict[str, Any], kind: str) -> Iterator[str]:
    yield from _one_of("license", data.get("license"), LICENSES)
    yield from _languages(data.get("language"))
    if "pretty_name" in data and not isinstance(data["pretty_name"], str):
        yield '"pretty_name" must be a string'
    if "tags" in data and not isinstance(data["tags"], list):
        yield '"tags" must be an array'
    for key in ("tags", *STRING_LISTS):
        yield from _strings(key, data.get(key))
    if kind == "dataset":
        yield from _one_of("size_categories", data.get("size_categories"), SIZES)
        yield from _configs(data.get("configs"))
        yield from _dataset_info(data.get("dataset_info"))


def _named(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value, or each item of a list, beside the name the Hub's messages give it."""
    if isinstance(value, list):
        yield from ((f"{key}[{at}]", item) for at, item in enumerate(value))
    elif value is not None:
        yield key, value


def _strings(key: str, value: Any) -> Iterator[str]:
    yield from (f'"{name}" must be a string' for name, item in _named(key, value) if not isinstance(item, str))


def _one_of(key: str, value: Any, known: list[str]) -> Iterator[str]:
    for name, item in _named(key, value):
        if item not in known:
            yield f'"{name}" must be one of [{", ".join(known)}]'


def _languages(value: Any) -> Iterator[str]:
    yield from _strings("language", value)
    for name, code in _named("language", value):
        if isinstance(code, str) and code != code.lower():
            yield f'"{name}" must only contain lowercase characters'
        elif isinstance(code, str) and not re.fullmatch(r"[a-z]{2,3}|code|multilingual", code):
            yield (
                f'"{name}" with value "{code}" is not valid. It must be an ISO 639-1, 639-2 or 639-3 code (two/three '
                'letters), or a special value like "code", "multilingual". If you want to use BCP-47 identifiers, you '
                "can specify them in language_bcp47."
            )


def _configs(value: Any) -> Iterator[str]:
    if value is None:
        return
    if not isinstance(value, list):
        yield '"configs" must be an array'
        return
    names = [config.get("config_name") for config in value if isinstance(config, dict)]
    for at, config in enumerate(value):
        if not isinstance(config, dict):
            yield f'"configs[{at}]" must be of type object'
            continue
        if not isinstance(config.get("config_name"), str):
            yield f'"configs[{at}].config_name" is required'
        elif names.count(config["config_name"]) > 1:
            yield f'"configs[{at}]" contains a duplicate value'
        if "data_dir" not in config:
            yield from _data_files(f"configs[{at}].data_files", config.get("data_files"))
    if sum(bool(config.get("default")) for config in value if isinstance(config, dict)) > 1:
        yield '"configs" has more than one default'


def _data_files(key: str, value: Any) -> Iterator[str]:
    """A path, a list of paths, or a list of {split, path}."""
    if not value:
        yield f'"{key}" is required'
    for name, item in _named(key, value):
        if isinstance(item, dict):
            paths = item.get("path")
            if not isinstance(item.get("split"), str) or not SPLIT_NAME.fullmatch(item["split"]):
                yield f'"{name}.split" must be a split name'
            if not paths or not all(isinstance(path, str) for path in (paths if isinstance(paths, list) else [paths])):
                yield f'"{name}.path" must be a string or an array of strings'
        elif not isinstance(item, str):
            yield f'"{name}" must be a string'


def _dataset_info(value: Any) -> Iterator[str]:
    several = isinstance(value, list)
    for name, info in _named("dataset_info", value):
        if not isinstance(info, dict):
            yield f'"{name}" must be of type object'
        elif several and not isinstance(info.get("config_name"), str):
            yield f'"{name}.config_name" is required'

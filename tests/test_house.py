"""Holds the rules of the house: what importing costs, what is public, how large a file is, and the tree of errors."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dill
import pytest

import hub_instructpt
from hub_instructpt import errors
from tests.conftest import ROOT, environment

FILES = sorted((ROOT / "hub_instructpt").rglob("*.py"))
HEAVY = {"torch", "transformers", "ray", "datasets", "pyarrow", "aiohttp", "pydantic", "huggingface_hub", "typer"}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after a statement."""
    program = (
        f"import sys, json\n{statement}\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, env=environment(), check=True
    )
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_next_to_nothing() -> None:
    assert not loaded_by("import hub_instructpt; dir(hub_instructpt)") & HEAVY


def test_reading_and_writing_the_wire_format_loads_no_library_of_models_or_data() -> None:
    loaded = loaded_by("from hub_instructpt import format_prompt, parse_pairs")
    assert not loaded & {"torch", "transformers", "ray", "datasets"}


def test_an_augment_for_a_server_loads_no_library_of_models() -> None:
    loaded = loaded_by("from hub_instructpt import Augment; Augment('http://127.0.0.1:9')")
    assert not loaded & {"torch", "transformers", "ray"}


def test_the_public_names_are_those_that_were_promised() -> None:
    promised = {"Augment", "Render", "format_prompt", "parse_pairs"}
    assert promised <= set(hub_instructpt.__all__) <= set(dir(hub_instructpt))
    for name in hub_instructpt.__all__:
        assert getattr(hub_instructpt, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        hub_instructpt.nothing_of_the_kind  # noqa: B018


def test_the_promised_names_take_the_promised_arguments() -> None:
    assert str(inspect.signature(hub_instructpt.format_prompt)).startswith("(context: 'str', examples")
    assert list(inspect.signature(hub_instructpt.parse_pairs).parameters) == ["completion"]
    arguments = inspect.signature(hub_instructpt.Augment).parameters
    assert next(iter(arguments)) == "engine"
    defaults = {name: arguments[name].default for name in ("text_column", "num_shots", "max_new_tokens")}
    assert defaults == {"text_column": "text", "num_shots": 1, "max_new_tokens": 400}
    assert inspect.signature(hub_instructpt.Render).parameters["seed"].default == 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_is_and_is_not_long(path: Path) -> None:
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= 500
    if path.name != "__main__.py" or source.strip():
        assert ast.get_docstring(ast.parse(source)), "a module without a docstring"


# The tree of errors ---------------------------------------------------------------------------------------------------


def exception_classes() -> Iterator[tuple[Path, str, list[str]]]:
    """Every class of the package that names an exception as its base, read from the source."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases = [ast.unparse(base) for base in node.bases]
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                found = getattr(importlib.import_module(module), node.name, None)
                if isinstance(found, type) and issubclass(found, BaseException):
                    yield path, node.name, bases


def test_every_error_of_the_package_stands_in_the_one_tree() -> None:
    # What never leaves its room needs no advice: it is turned into one of the tree there.
    private = {"Rejected", "TransportFailure"}
    outside = {
        name
        for path, name, bases in exception_classes()
        if path.name != "errors.py" and not name.startswith("_") and name not in private
        and not any(hasattr(errors, base.rpartition(".")[2]) for base in bases)
    }  # fmt: skip
    assert outside == set()


def tree(
    kind: type[errors.HubInstructPTError] = errors.HubInstructPTError,
) -> Iterator[type[errors.HubInstructPTError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


IN_TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def one_of(kind: type[errors.HubInstructPTError]) -> errors.HubInstructPTError:
    if issubclass(kind, errors.RequestFailed):
        return kind("It failed.", reason="timeout", attempts=3, passing=True, advice="Look at the log.")
    return kind("It failed.", advice="Look at the log.")


@pytest.mark.parametrize("kind", IN_TREE, ids=lambda kind: kind.__name__)
def test_an_error_travels_whole_between_processes(kind: type[errors.HubInstructPTError]) -> None:
    error = one_of(kind)
    for travelled in (pickle.loads(pickle.dumps(error)), dill.loads(dill.dumps(error)), copy.copy(error)):
        assert type(travelled) is kind
        assert travelled.__dict__ == error.__dict__
        assert str(travelled) == str(error) == "It failed. Look at the log."
        assert travelled.args == error.args


@pytest.mark.parametrize("kind", IN_TREE, ids=lambda kind: kind.__name__)
def test_wrong_use_ends_with_2_and_everything_else_with_1(kind: type[errors.HubInstructPTError]) -> None:
    assert issubclass(kind, errors.HubInstructPTError)
    assert kind.exit_status == (2 if issubclass(kind, errors.UsageError) else 1)
    assert kind.__doc__


def test_the_picture_of_the_tree_shows_all_of_it() -> None:
    assert errors.__doc__ is not None
    assert [kind.__name__ for kind in IN_TREE if kind.__name__ not in errors.__doc__] == []


def test_an_error_without_advice_is_its_message() -> None:
    assert str(errors.RunError("It stopped.")) == "It stopped."

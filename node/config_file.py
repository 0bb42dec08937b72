"""Reads the config: `config.toml`, over it the environment, over that the caller; every error at once."""

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from capanode.node.config import NodeConfig
from capanode.node.data_folder import DataFolder
from capanode.protocol.faults import Misconfigured

PREFIX: Final = "CAPANODE_"
MAX_FILE_BYTES: Final = 1 << 20

_HEADER: Final = re.compile(r"\s*\[\s*([A-Za-z0-9_.\s-]+?)\s*\]\s*(#.*)?")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=")

Place = tuple[str, ...]


class ConfigRejected(Misconfigured):
    """The config has mistakes; `sentences` names each one and its place."""

    def __init__(self, path: Path, sentences: list[str]) -> None:
        head = f"the config {path} cannot be used:"
        super().__init__(sentences[0] if len(sentences) == 1 else "\n  ".join((head, *sentences)))
        self.sentences = tuple(sentences)


def load_config(
    folder: DataFolder,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> NodeConfig:
    """The config of a data folder; a folder without a file has the defaults.

    `overrides` are nested like the file (`{"p2p": {"port": 4001}}`) and win over everything.

    Raises:
        ConfigRejected: all mistakes of file and environment, each with its place and what to write instead.
    """
    text = _read(folder.config)
    try:
        values: dict[str, Any] = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigRejected(folder.config, [f"{folder.config} is no TOML: {error}."]) from error
    places = {place: f"{folder.config}, line {line}" for place, line in _lines(text)}
    mistakes: list[str] = []
    for place, name, value in _variables(os.environ if environ is None else environ, mistakes):
        _put(values, place, value)
        places[place] = f"the environment variable {name}"
    _merge(values, overrides or {})
    values["data_dir"] = folder.root
    try:
        config = NodeConfig.model_validate(values)
    except ValidationError as error:
        found = [_sentence(detail, places, folder.config) for detail in error.errors(include_url=False)]
        raise ConfigRejected(folder.config, [*found, *mistakes]) from None
    if mistakes:
        raise ConfigRejected(folder.config, mistakes)
    return config


def known_places(model: type[BaseModel] = NodeConfig) -> dict[Place, type[BaseModel] | None]:
    """Every name that a file may hold, as a path; sections with their model."""
    found: dict[Place, type[BaseModel] | None] = {}
    for name, field in model.model_fields.items():
        inner = _section(field.annotation)
        key = field.alias or name
        found[(key,)] = inner
        if inner is not None:
            found |= {(key, *rest): kind for rest, kind in known_places(inner).items()}
    return found


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((s for s in map(_section, typing.get_args(annotation)) if s is not None), None)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigRejected(path, [f"{path} is larger than 1 MiB and so no config: correct --data."])
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ConfigRejected(path, [f"{path} is not UTF-8 text: save it as that."]) from None
    except OSError as error:
        raise ConfigRejected(path, [f"{path} cannot be read ({error.strerror}): correct its permissions."]) from error


def _lines(text: str) -> Iterator[tuple[Place, int]]:
    """Where each section and key is written; for keys in inline tables the line of the table."""
    section: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            section = tuple(part.strip() for part in header[1].split("."))
            yield section, number
        elif key := _KEY.match(line):
            yield (*section, *key[1].split(".")), number


def _variables(environ: Mapping[str, str], mistakes: list[str]) -> Iterator[tuple[Place, str, str]]:
    """Settings in the environment, `CAPANODE_PROVIDER__SLOTS` for `slots` in `[provider]`.

    Other variables may share the prefix; one is taken for a mistake when it has a section's name in it.
    """
    known = known_places()
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        place = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if place in known and known[place] is None and place != ("data_dir",):
            yield place, name, environ[name]
        elif len(place) > 1:
            mistakes.append(f"the environment variable {name} sets nothing{_suggestion(place, known)}")


def _put(values: dict[str, Any], place: Place, value: Any) -> None:
    for part in place[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # the section itself is malformed, which is reported
        values = inner  # pyright: ignore[reportUnknownVariableType]  # TOML's keys are text
    values[place[-1]] = value


def _merge(values: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)  # pyright: ignore[reportUnknownArgumentType]  # nested text keys
        else:
            values[key] = value


def _sentence(detail: ErrorDetails, places: Mapping[Place, str], path: Path) -> str:
    place = tuple(str(part) for part in detail["loc"] if not _is_machinery(part))
    where = next((places[place[:n]] for n in range(len(place), 0, -1) if place[:n] in places), str(path))
    name = ".".join(place)
    match detail["type"]:
        case "extra_forbidden":
            return f"{where}: there is no setting {name}{_suggestion(place, known_places())}"
        case "value_error":
            return f"{where}: {name}: {detail['ctx']['error']}."  # pyright: ignore[reportTypedDictNotRequiredAccess]
        case _:
            message = detail["msg"][:1].lower() + detail["msg"][1:]
            return f"{where}: {name} is {str(detail['input'])[:60]!r}; {message}."


def _is_machinery(part: str | int) -> bool:
    """Pydantic names the branch that it tried (`function-plain[…]`, `frozenset[…]`) inside a place."""
    return isinstance(part, str) and re.search(r"[\[(]", part) is not None


def _suggestion(place: Place, known: Mapping[Place, object]) -> str:
    names = {".".join(p): p for p in known}
    close = difflib.get_close_matches(".".join(place), names, n=1, cutoff=0.6)
    if not close:
        same = [n for n, p in names.items() if p[-1] == place[-1]]
        close = same or difflib.get_close_matches(place[-1], [p[-1] for p in known], n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else "."

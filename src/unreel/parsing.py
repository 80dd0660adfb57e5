"""jsonargparse with refusals that a person can act on: one line, with what was expected, what came, the nearest name.

What this file is not: it knows no setting of Unreel. It is told a dataclass and reads its fields.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace

from unreel.errors import ConfigError
from unreel.nearest import nearest

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


class ConfigParser(ArgumentParser):
    """jsonargparse's parser, whose refusals raise ConfigError.

    Attributes:
        settings: the dataclass that a file of `--config` fills; None where there is no such flag.
        short_flags: flags that stand for longer ones.
    """

    settings: type | None = None
    short_flags: Mapping[str, str] = types.MappingProxyType({})

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Namespace:  # type: ignore[override]
        """Parse with short flags written out, `--flag value` and `--flag=value` alike."""
        written_out = [self._written_out(argument) for argument in args or ()]
        return super().parse_args(self._gathered(written_out), *rest, **settings)

    def parse_path(self, path: str | os.PathLike[str], *rest: Any, **settings: Any) -> Namespace:
        """Read a file of `--config`, and refuse what is no setting with the file's name."""
        if self.settings is not None:
            read_yaml(Path(path).read_text(encoding="utf-8"), self.settings, str(path))
        return super().parse_path(path, *rest, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ConfigError instead of ending the process."""
        del ex
        message = " ".join(message.split())
        if absent := re.search(r"(File does not exist|Path is not a file): '?(.*?)'?$", message):
            raise ConfigError(f"{absent[2]}: expected a YAML file; {absent[1].lower()}")
        key = re.match(r'Parser key "([^"]+)": ', message)
        value = re.search(r"(?:Got value|Given value): (.*)$", message)
        hints = {action.dest: getattr(action, "_typehint", None) for action in self._actions}
        if key and value and hints.get(key[1]) is not None:
            raise ConfigError(mistyped(key[1], hints[key[1]], value[1]))
        names = [*self.short_flags, *(option for action in self._actions for option in action.option_strings)]
        wrong = re.findall(r"--[\w.-]+", message) if "nrecognized" in message else []
        if option := re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message):
            wrong = [f"--{option[1]}.{option[2]}"]
        raise ConfigError(message + "".join(nearest(name, names) for name in wrong))

    def _written_out(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        return self.short_flags.get(name, name) + equals + value

    def _gathered(self, arguments: Sequence[str]) -> list[str]:
        """`--flag 20 10` as `--flag [20,10]`, where a list is what the flag takes."""
        lists = {
            option
            for action in self._actions
            if _takes_list(getattr(action, "_typehint", None))
            for option in action.option_strings
        }
        gathered: list[str] = []
        for argument in arguments:
            number = re.fullmatch(r"-?\d+(\.\d+)?", argument) is not None
            if number and len(gathered) > 1 and gathered[-2] in lists and _is_numbers(gathered[-1]):
                gathered[-1] = f"[{gathered[-1].strip('[]')},{argument}]"
            else:
                gathered.append(argument)
        return gathered


def _takes_list(kind: Any) -> bool:
    """Whether values of this kind are tuples, or may be."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return any(get_origin(member) is tuple for member in members)


def _is_numbers(text: str) -> bool:
    """Whether it is one number, or a list of several that `_gathered` has made."""
    return re.fullmatch(r"-?[\d.]+|\[-?[\d.]+(,-?[\d.]+)+\]", text) is not None


def read_yaml(text: str, settings: type, name: str) -> dict[str, Any]:
    """A mapping from YAML whose keys are fields of the dataclass `settings`, all the way down.

    Raises:
        ConfigError: it is no YAML, names something that is no setting, or gives one value where settings belong.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: expected YAML, got {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    _check(values, settings, name, "")
    return values


def _check(values: Any, settings: type, name: str, prefix: str) -> None:
    if not isinstance(values, dict):
        place = prefix.rstrip(".") or "the file"
        raise ConfigError(f"{name}: expected settings by name in {place}, got {_shown(values)}")
    kinds = get_type_hints(settings)
    for key, value in values.items():
        if key not in kinds:
            near = nearest(f"{prefix}{key}", _leaves(settings, prefix))
            raise ConfigError(f"{name}: unknown setting {prefix}{key}{near}; it may be one of {', '.join(kinds)}")
        if inner := _chosen(kind := kinds[key], value, name, f"{prefix}{key}."):
            _check(value, inner, name, f"{prefix}{key}.")
        elif value is None and type(None) not in get_args(kind):  # jsonargparse takes null for anything
            raise ConfigError(f"{name}: {mistyped(prefix + key, kind, 'null')}")


def _leaves(settings: type, prefix: str) -> Iterator[str]:
    for key, kind in get_type_hints(settings).items():
        yield f"{prefix}{key}"
        for inner in _dataclasses(kind):
            yield from _leaves(inner, f"{prefix}{key}.")


def _dataclasses(kind: Any) -> list[type]:
    """The dataclass, or the members of a union of them; nothing for any other type."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return [member for member in members if isinstance(member, type) and dataclasses.is_dataclass(member)]


def _chosen(kind: Any, value: Any, name: str, prefix: str) -> type | None:
    """The dataclass that a value belongs to: of several, the one whose field `name` has the name that it gives; where
    it gives none, the first that has all of its settings. Whether that is the one in use is for the parser to tell.

    Raises:
        ConfigError: none has the name.
    """
    members = _dataclasses(kind)
    if len(members) < 2 or not isinstance(value, dict):
        return members[0] if members else None
    if "name" not in value:
        return next((member for member in members if value.keys() <= get_type_hints(member).keys()), members[0])
    names = [get_args(get_type_hints(member)["name"])[0] for member in members]
    if value["name"] not in names:
        raise ConfigError(f"{name}: {mistyped(f'{prefix}name', Literal[tuple(names)], str(value['name']))}")
    return members[names.index(value["name"])]


def mistyped(name: str, kind: Any, value: str) -> str:
    """`name: expected this kind of thing, got that value`, and the nearest choice."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    got = "null" if value == "None" else value
    return f"{name}: expected {_described(kind)}, got {got}{nearest(got, choices)}"


def _described(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return (inner[0] if len(inner) == 1 else f"one of {', '.join(inner)}") if inner else "nothing"
    if origin in (Union, types.UnionType):
        return " or ".join(_described(item) for item in inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"a list such as [16, 32] of which each is {_described(inner[0])}"
    if origin is tuple:
        return f"a list of {len(inner)}, such as [{', '.join(['64'] * len(inner))}], each {_described(inner[0])}"
    return _WORDS.get(kind) or getattr(kind, "__name__", str(kind))


def _shown(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {value!r}"[:80]

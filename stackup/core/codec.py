"""Core types to plain JSON-able values and back. One encoder and one decoder per type, composed once from its hints.

Owns the form of specs on disk and on sockets; must know nothing of files, sockets or versions. Tuples become lists,
enums their values, dataclasses objects with every field; a member of the Mount union also carries its `kind`.
"""

from __future__ import annotations

import types as builtin_types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from stackup.core.types import Bind, Tmpfs, VolumeMount

T = TypeVar("T")
Convert = Callable[[Any], Any]

KINDS: dict[type, str] = {Bind: "bind", VolumeMount: "volume", Tmpfs: "tmpfs"}
"""The tag of each dataclass that is a member of a union."""


def to_plain(value: Any) -> Any:
    """The JSON-able form of a dataclass of stackup.core.types (or of a tuple, enum or scalar)."""
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    hint: Any = type(value)
    return _encoder(hint)(value)


def from_plain(cls: type[T], data: Any) -> T:
    """The inverse of `to_plain`. Absent fields take their defaults, so that records of an older version still load.

    Raises:
        ValueError: `data` is not the plain form of a `cls`; the message names the field.
    """
    hint: Any = cls
    return cast(T, _decoder(hint)(data))


# --- encoding -------------------------------------------------------------------------------------------------------


@cache
def _encoder(hint: Any) -> Convert:
    if hint is float:
        return float
    if hint in (str, int, bool, type(None)):
        return _identity
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _encode_tuple(args)
    if origin in (Union, builtin_types.UnionType):
        return _encode_union(args)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_value
    if isinstance(hint, type) and is_dataclass(hint):
        return _encode_dataclass(hint)
    raise TypeError(f"no plain form for {hint!r}")


def _identity(value: Any) -> Any:
    return value


def _enum_value(value: Enum) -> Any:
    return value.value


def _encode_tuple(args: tuple[Any, ...]) -> Convert:
    encoders = [_encoder(arg) for arg in args if arg is not Ellipsis]
    if all(encode is _identity for encode in encoders):
        return list
    if args[-1] is Ellipsis:
        encode_item = encoders[0]
        return lambda value: [encode_item(item) for item in value]
    return lambda value: [encode(item) for encode, item in zip(encoders, value, strict=True)]


def _encode_union(args: tuple[Any, ...]) -> Convert:
    members = [arg for arg in args if arg is not type(None)]
    if len(members) > 1:
        return to_plain
    encode = _encoder(members[0])
    return lambda value: None if value is None else encode(value)


def _encode_dataclass(cls: type) -> Convert:
    hints = get_type_hints(cls)
    plan = [(field.name, _encoder(hints[field.name])) for field in fields(cls) if field.init]
    head = {"kind": KINDS[cls]} if cls in KINDS else {}

    def encode(value: Any) -> dict[str, Any]:
        return head | {name: convert(getattr(value, name)) for name, convert in plan}

    return encode


# --- decoding -------------------------------------------------------------------------------------------------------


@cache
def _decoder(hint: Any) -> Convert:
    if hint is float:
        return _decode_float
    if hint in (str, int, bool, type(None)):
        return _decode_scalar(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _decode_tuple(args)
    if origin in (Union, builtin_types.UnionType):
        return _decode_union(args)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {member.value: member for member in hint}.__getitem__
    if isinstance(hint, type) and is_dataclass(hint):
        return _decode_dataclass(hint)
    raise TypeError(f"no plain form for {hint!r}")


def _decode_scalar(cls: type) -> Convert:
    def decode(value: Any) -> Any:
        if type(value) is not cls:
            raise ValueError(f"expected {cls.__name__}, found {type(value).__name__}")
        return value

    return decode


def _decode_float(value: Any) -> float:
    if type(value) not in (float, int):
        raise ValueError(f"expected a number, found {type(value).__name__}")
    return float(value)


def _decode_tuple(args: tuple[Any, ...]) -> Convert:
    decoders = [_decoder(arg) for arg in args if arg is not Ellipsis]
    decode_item = decoders[0] if args[-1] is Ellipsis else None

    def decode(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise ValueError(f"expected a list, found {type(value).__name__}")
        if decode_item is not None:
            return tuple([decode_item(item) for item in value])
        return tuple([convert(item) for convert, item in zip(decoders, value, strict=True)])

    return decode


def _decode_union(args: tuple[Any, ...]) -> Convert:
    members = [arg for arg in args if arg is not type(None)]
    if len(members) == 1:
        decode_member = _decoder(members[0])
        return lambda value: None if value is None else decode_member(value)
    by_kind = {KINDS[member]: _decoder(member) for member in members}

    def decode(value: Any) -> Any:
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind not in by_kind:
            raise ValueError(f"expected a kind out of {', '.join(sorted(by_kind))}, found {kind!r}")
        return by_kind[kind](value)

    return decode


def _decode_dataclass(cls: type) -> Convert:
    hints = get_type_hints(cls)
    own = [field for field in fields(cls) if field.init]
    decoders = {field.name: _decoder(hints[field.name]) for field in own}
    required = {f.name for f in own if f.default is MISSING and f.default_factory is MISSING}
    kind = KINDS.get(cls)

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"expected {cls.__name__}, found {type(value).__name__}")
        if missing := required - value.keys():
            raise ValueError(f"{cls.__name__} without {', '.join(sorted(missing))}")
        arguments = {}
        for name, item in value.items():
            if name == "kind" and kind is not None:
                if item != kind:
                    raise ValueError(f"{cls.__name__}: kind {item!r} instead of {kind!r}")
                continue
            convert = decoders.get(name)
            if convert is None:
                raise ValueError(f"{cls.__name__} has no field {name!r}")
            try:
                arguments[name] = convert(item)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{cls.__name__}.{name}: {error}") from error
        return cls(**arguments)

    return decode

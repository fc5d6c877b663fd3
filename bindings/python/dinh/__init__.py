"""Dinh from Python: for scripts, the REPL, and quick tests of the library. Apps are written in Kotlin or Swift.

    >>> import asyncio, dinh
    >>> async def main():
    ...     client = await dinh.open("an.redb", "an.marker", dinh.generate_secrets())
    ...     founded = await client.found_branch(dinh.new_member_id(), "An's laptop")
    ...     print(founded.root_words)
    ...     await client.shutdown()
    >>> asyncio.run(main())

Everything is as in the Rust documentation of `dinh-ffi`. Errors are `DinhError.Closed`, `DinhError.Refused` and so on; their text
is in `detail`. Put `libdinh_ffi.so` (`cargo build -p dinh-ffi`) beside this file.
"""

import json as _json

from ._native import *  # noqa: F403
from ._native import Client as _Client, ClientOptions as _Options, Secrets as _Secrets, SnapshotKind as _Kind
from ._native import Step as _Step, Value as _Value


async def open(
    store_path: str, marker_path: str, secrets: _Secrets, relay: str | None = None, **options
) -> _Client:
    """Opens a store, and makes it if it is not there."""
    made = _Options(store_path=store_path, marker_path=marker_path, relay=relay, **options)
    return await _Client.open(made, secrets)


def path(*steps: str | int) -> list:
    """A place in a document: `path("items", 0)`."""
    return [_Step.INDEX(step) if isinstance(step, int) else _Step.KEY(step) for step in steps]


def value(plain) -> _Value:
    """A value of a document: None, bool, int, float, str, bytes, list or dict. A str is replaced as a whole; for one that merges
    take `Value.TEXT`."""
    match plain:
        case _Value():
            return plain
        case None:
            return _Value.NULL()
        case bool():
            return _Value.BOOL(plain)
        case int():
            return _Value.INT(plain)
        case float():
            return _Value.FLOAT(plain)
        case str():
            return _Value.STR(plain)
        case bytes():
            return _Value.BYTES(plain)
        case list() | tuple():
            return _Value.LIST_VALUE([value(element) for element in plain])
        case dict():
            return _Value.MAP_VALUE({key: value(element) for key, element in plain.items()})
    raise TypeError(f"{type(plain)} is no value of a document")


def plain(found: _Value | None):
    """The opposite of `value`; nothing is None, and times are whole milliseconds."""
    match found:
        case None | _Value.NULL():
            return None
        case _Value.LIST_VALUE():
            return [plain(element) for element in found.values]
        case _Value.MAP_VALUE():
            return {key: plain(element) for key, element in found.entries.items()}
        case _Value.TIMESTAMP():
            return found.millis
    return found.value


async def snapshot(client: _Client, doc: str, kind: _Kind):
    """A document of a branch as plain Python: dicts, lists, strings."""
    return _json.loads(await client.snapshot(doc, kind))

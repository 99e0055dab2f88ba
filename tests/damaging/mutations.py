"""Damages files: bytes of any file, and values, tensors and members of known formats.

One seed per file determines the damage.
"""

import copy
import datetime
import io
import json
import pickle
import struct
import tomllib
import zipfile

import numpy as np
import tomli_w
import torch

BOMB = bytes(150_000_000)
NASTY = (
    *(
        None,
        True,
        False,
        -1,
        0,
        1,
        2,
        2**31,
        2**53 + 1,
        10**9,
        10**17,
        10**30,
        10**400,
        -(10**9),
        -0.0,
        0.5,
        1e-320,
        1e30,
        1e308,
    ),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "x" * 5000,
        "\ud800",
        "é\n<b>",
        "../../x",
        "/etc/passwd",
        "[" * 50,
        "NaN",
        "1",
        "cuda:99",
    ),
    *([], {}, [[]], [None] * 500, [0] * 1000, {"a": {"b": [1]}}, {"": 0}, ["a", "a"], [1.5], [True], [[1], [2, 3]]),
    *("\u202egnp.exe", "a\x00\x1b[31mb", "a\u2028b", "\ufeffx", "x\r\ny", "1e5", "True", "0x10"),
    *("tabicl-mini", "tabdpt-mini", "regression", "base-ft", "inference", "text", "<U99999999", "|O", "V9999999"),
)
ODD_KEYS = (0, 1, 2.5, True, None)
"""Keys that only a file of ``torch.save`` can have."""
TEXTS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"[" * 5000,
    b'{"a":' * 300,
    b"\xff\xfe",
    b'"\\ud800"',
    b"[0" + b",0" * 50_000 + b"]",
    b"",
)


def flip(data, rng, other):
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def fill(data, rng, other):
    place, size = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 500))
    data[place : place + size] = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * min(size, len(data) - place)


def cut(data, rng, other):
    del data[rng.randrange(len(data)) :]


def cut_front(data, rng, other):
    del data[: rng.randrange(min(4096, len(data)))]


def splice(data, rng, other):
    place, start = rng.randrange(len(data)), rng.randrange(len(data))
    data[place:place] = data[start : start + rng.randrange(1, 4096)]


def go_on_as_another(data, rng, other):
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def extend(data, rng, other):
    data += rng.randbytes(rng.choice((1, 22, 4096, 100_000)))


def empty(data, rng, other):
    data.clear()


def another_end(data, rng, other):
    """Changes the last bytes of a zip or a pickle, which hold its sizes."""
    data[-rng.randrange(1, min(100, len(data))) :] = rng.randbytes(rng.randrange(1, 30))


OF_BYTES = (flip, flip, flip, fill, fill, cut, cut, cut_front, splice, go_on_as_another, extend, empty, another_end)


def damage_bytes(data, rng, other):
    """Flips, cuts, splices and lengthens."""
    data = bytearray(data)
    rng.choice(OF_BYTES)(data, rng, other)
    return bytes(data)


def places(values):
    """Every container of a tree with each of its keys."""
    stack, found = [values], []
    while stack:
        part = stack.pop()
        for key in list(part if isinstance(part, dict) else range(len(part))):
            found.append((part, key))
            if isinstance(part[key], dict | list):
                stack.append(part[key])
    return found


def pick(nasty, rng):
    """A random value, copied because it may be damaged further."""
    value = rng.choice(nasty)
    return copy.deepcopy(value) if isinstance(value, dict | list) else value


def take_from_elsewhere(part, key, rng, nasty, found):
    other, there = rng.choice(found)
    value = other.get(there) if isinstance(other, dict) else other[there] if there < len(other) else None
    part[key] = pick(nasty, rng) if isinstance(value, dict | list) else value


def rename(part, key, rng, nasty, found):
    if isinstance(part, dict):
        part[rng.choice(("x", "", f"{key}x", str(key).upper()))] = part.pop(key)


def add(part, key, rng, nasty, found):
    if isinstance(part, dict):
        part[rng.choice(("unknown", "views", "rank", "path", "checkpoint"))] = pick(nasty, rng)


def repeat(part, key, rng, nasty, found):
    if isinstance(part, list):
        part[key:key] = [part[key]] * rng.choice((1, 3, 1000))


def another_number(part, key, rng, nasty, found):
    if isinstance(part[key], int | float):
        part[key] = rng.choice((part[key] + 1, -part[key], part[key] * 10**6, float(part[key]), str(part[key])))


def replace(part, key, rng, nasty, found):
    part[key] = pick(nasty, rng)


def another_kind(part, key, rng, nasty, found):
    part[key] = rng.choice((str(part[key])[:1000], [part[key]], {"value": part[key]}))


def delete(part, key, rng, nasty, found):
    del part[key]


OF_VALUES = (replace, replace, replace, take_from_elsewhere, delete, rename, add, repeat, another_number, another_kind)


def damage_values(values, rng, nasty=NASTY):
    """Changes one to three values, keys or lengths of a tree in place."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        found = places(values)
        if found:
            rng.choice(OF_VALUES)(*rng.choice(found), rng, nasty, found)


def damage_json(data, rng):
    if rng.random() < 0.2:
        place = rng.randrange(len(data))
        return data[:place] + rng.choice(TEXTS) + data[place + rng.choice((0, 1, 5)) :]
    values = json.loads(data)
    if rng.random() < 0.05:
        return twice(values, rng)
    damage_values(values, rng)
    return json.dumps(values, allow_nan=True).encode("utf-8", "surrogatepass")


def twice(values, rng):
    """An object with one key twice and different values."""
    part, key = rng.choice([place for place in places(values) if isinstance(place[0], dict)] or [({"a": 1}, "a")])
    text = json.dumps(part, allow_nan=True)
    doubled = f"{text[:-1]}, {json.dumps(key)}: {json.dumps(pick(NASTY, rng), allow_nan=True)}}}"
    return json.dumps(values, allow_nan=True).replace(text, doubled, 1).encode("utf-8", "surrogatepass")


def lay_otherwise(tensors, rng):
    """Makes tensors overlap, share bytes, have another dtype, or have no bytes but huge sides."""
    name, other = rng.choice([*tensors]), rng.choice([*tensors])
    about = tensors[name]
    match rng.choice(("alias", "shift", "kind", "kind", "sides", "order", "many", "long name")):
        case "alias":
            tensors[name] = tensors[other]
        case "shift":
            about["data_offsets"] = [
                place + rng.choice((-4, 4, 2**31, 2**63, -(2**63))) for place in about["data_offsets"]
            ]
        case "kind":
            about["dtype"] = rng.choice(
                ("f32", "float32", "F8_E4M3", "F64", "I32", "U32", "BF16", "F16", "C64", "BOOL", "F4")
            )
        case "sides":
            about["shape"] = rng.choice(
                ([0, 2**39], [2**32, 2**32], [1] * 3000, [True], [4.0], [-1, -1], [0] * 8, [*about["shape"], 1])
            )
        case "order":
            about["shape"] = about["shape"][::-1]
        case "many":
            tensors |= {f"x{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)}
        case "long name":
            tensors["x" * 100_000 + "\u202e"] = tensors.pop(name)


def damage_safetensors(data, rng):
    """Damages the header or the numbers."""
    size = int.from_bytes(data[:8], "little")
    header, content = data[8 : 8 + size], bytearray(data[8 + size :])
    match rng.choice(("header", "layout", "numbers", "numbers", "config", "length")):
        case "layout":
            values = json.loads(header)
            beside = values.pop("__metadata__", None)
            lay_otherwise(values, rng)
            header = json.dumps(values | ({} if beside is None else {"__metadata__": beside})).encode()
        case "header":
            header = damage_json(header, rng)
        case "numbers" if content:
            value = rng.choice((np.nan, np.inf, -np.inf, 3e38, 1e30, -1e20, 1e-40, -0.0, 1.2e-38, 0.0))
            place = 4 * rng.randrange(max(1, len(content) // 4))
            many = rng.choice((1, 1, len(content) // 4))
            content[place : place + 4 * many] = np.full(many, value, np.float32).tobytes()[: len(content) - place]
        case "config":
            values = json.loads(header)
            beside = values.get("__metadata__", {})
            if "cfg" in beside:
                beside["cfg"] = damage_json(beside["cfg"].encode(), rng).decode("utf-8", "replace")
            else:
                values["__metadata__"] = pick(NASTY, rng)
            header = json.dumps(values).encode()
        case "length":
            return rng.choice((2**63, 2**40, 100_000_001, size + 1, 0)).to_bytes(8, "little") + header + content
    return len(header).to_bytes(8, "little") + header + content


class Payload:
    """Code that must never run."""

    def __reduce__(self):
        return print, ("CODE IN A FILE WAS RUN",)


def damage_member(name, data, rng):
    if name.endswith(".json"):
        return damage_json(data, rng)
    if name.endswith(".safetensors"):
        return damage_safetensors(data, rng)
    return damage_bytes(data, rng, data) if data else rng.randbytes(50)


def damage_content(members, member, rng):
    member[1] = damage_member(member[0], member[1], rng)


def drop(members, member, rng):
    members.remove(member)


def call_otherwise(members, member, rng):
    member[0] = rng.choice(("../x", "/x", "x", member[0].upper(), "a\\b", "é", f"{member[0]}/"))


def say_twice(members, member, rng):
    members.append([member[0], rng.choice((member[1], b"{}")), member[2]])


def make_a_link(members, member, rng):
    member[2] = 0o120777 << 16


def make_a_bomb(members, member, rng):
    member[1] = BOMB if rng.random() < 0.3 else BOMB[:30_000_000]


def add_many(members, member, rng):
    members += [[f"f{i}", b"", 0] for i in range(rng.choice((40, 3000)))]


def put_code(members, member, rng):
    member[1] = pickle.dumps(Payload())


OF_MEMBERS = (*(damage_content,) * 12, drop, call_otherwise, say_twice, make_a_link, make_a_bomb, add_many, put_code)


def lie_about_a_member(made, rng):
    """Changes a member's entry in the central directory: encryption, size, compression, date, offset, or the sizes of
    zip64.
    """
    entry = made.rindex(b"PK\x01\x02")
    match rng.choice(("bit", "size", "both sizes", "way", "date", "place", "zip64")):
        case "bit":
            made[entry + rng.choice((8, 24, 27))] ^= 1
        case "size":
            made[entry + 24 : entry + 28] = rng.choice((0, 1, 10**9, 2**32 - 2)).to_bytes(4, "little")
        case "both sizes":
            made[entry + 20 : entry + 28] = rng.choice((0, 10**6, 2**32 - 2)).to_bytes(4, "little") * 2
        case "way":
            made[entry + 10 : entry + 12] = rng.choice((0, 8, 9, 12, 14, 93, 99)).to_bytes(2, "little")
        case "date":
            made[entry + 12 : entry + 16] = b"\xff" * 4
        case "place":
            made[entry + 42 : entry + 46] = rng.choice((0, 1, 2**31, 2**32 - 1)).to_bytes(4, "little")
        case "zip64":
            made[entry + 20 : entry + 28] = b"\xff" * 8


def lie_about_the_list(made, rng):
    """Changes what surrounds the central directory: leading bytes, a comment with another end record, or the end
    record's values.
    """
    end = made.rindex(b"PK\x05\x06")
    match rng.choice(("before", "remark", "end in a remark", "place", "number", "zip64")):
        case "before":
            made[:0] = rng.choice((b"#!/bin/sh\n", bytes(made)))
        case "remark":
            made[end + 20 :] = b"\xff\xff" + b"x" * 65_535
        case "end in a remark":
            made[end + 20 :] = b"\x16\x00" + made[end:]
        case "place":
            made[end + 16 : end + 20] = rng.choice((0, 1, 2**32 - 1)).to_bytes(4, "little")
        case "number":
            made[end + 8 : end + 12] = rng.choice((0, 1, 2**16 - 1)).to_bytes(2, "little") * 2
        case "zip64":
            larger = b"PK\x06\x06" + (44).to_bytes(8, "little") + rng.randbytes(44) + b"PK\x06\x07" + rng.randbytes(16)
            made[end:end] = larger


def damage_zip(data, rng):
    """Damages the members of a zip, or its entries about them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [[info.filename, archive.read(info), info.external_attr] for info in archive.infolist()]
    member = rng.choice([one for one in members if one[0].endswith((".json", ".safetensors", ".pkl"))] or members)
    how = rng.choice(OF_MEMBERS)
    how(members, member, rng)
    usual = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    packed = (
        zipfile.ZIP_DEFLATED if how is make_a_bomb else rng.choice((*usual * 5, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packed) as archive:
        for name, content, attributes in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = attributes, packed
            archive.writestr(info, content)
    made = bytearray(made.getvalue())
    if members and rng.random() < 0.15:
        rng.choice((lie_about_a_member, lie_about_the_list))(made, rng)
    return bytes(made)


def odd_tensors():
    """Tensors with odd values, layouts, dtypes or devices."""
    yield from (torch.full((2, 3), value) for value in (torch.nan, torch.inf, 1e30, 0.0))
    yield torch.zeros(1).expand(10**6, 10**6)
    yield torch.eye(3).to_sparse()
    yield torch.ones(2, 2, dtype=torch.complex64)
    yield torch.ones(2, 2, dtype=torch.int64)
    yield torch.empty(0, 5)
    yield torch.empty(10**6, 10**6, device="meta")
    yield torch.nn.Parameter(torch.ones(2, 2))
    yield torch.ones(2, 2, dtype=torch.bfloat16)
    yield torch.full((2, 3), 1e-45)
    yield torch.as_strided(torch.ones(9), (3, 3), (1, 1))
    yield [*torch.ones(40_000).expand(2_000, 40_000)]
    yield torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)


ODD_PICKLES = (
    b"})" + b"q\x00h\x00\x86" * 60 + b"K\x01s.",  # a key of 2^60 tuples
    b"c__builtin__\nbytearray\n\x8a\x08" + (10**11).to_bytes(8, "little") + b"\x85R.",
    b"ctorch\nFloatTensor\nJ\x00\x00\x00\x01J\x00\x01\x00\x00\x86R.",
    b"ccollections\nCounter\n]X\x01\x00\x00\x00xa\x85R.",
    b"]q\x00h\x00a.",  # a list that contains itself
    b"]" + b"q\x00]h\x00ah\x00a" * 60 + b".",
    b"(" * 100_000 + b".",
    b"])R.",
)


def put_another_pickle(data, rng):
    """Replaces the pickle by one that torch.save never writes, or by the file's own with damaged bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = (
                    b"\x80\x02" + rng.choice(ODD_PICKLES) if rng.random() < 0.2 else damage_bytes(content, rng, content)
                )
            new.writestr(entry, content)
    return made.getvalue()


def damage_torch(data, rng):
    """Damages a file of ``torch.save``: its values, its tensors, or the zip around them."""
    if (chance := rng.random()) < 0.4:
        return damage_zip(data, rng) if chance < 0.25 else put_another_pickle(data, rng)
    values, made = torch.load(io.BytesIO(data), weights_only=True), io.BytesIO()
    damage_values(values, rng, (*NASTY, *odd_tensors(), *odd_tensors()))
    if rng.random() < 0.15:
        part, key = rng.choice([place for place in places(values) if isinstance(place[0], dict)])
        part[rng.choice(ODD_KEYS)] = part.pop(key)
    if rng.random() < 0.1:
        values["code"] = Payload()
    try:
        torch.save(values, made, _use_new_zipfile_serialization=rng.random() > 0.1)
    except (
        RuntimeError,
        NotImplementedError,
        UnicodeEncodeError,
        struct.error,
        OverflowError,
    ):  # torch cannot write it
        return b""
    return made.getvalue()


ODD_LINES = (
    *(
        "seeds = [2024-01-01]",
        "seeds = 2024-01-01T10:00:00+02:00",
        "ranks = [10:00:00]",
        "seeds = [0x" + "f" * 5000 + "]",
    ),
    *(
        "seeds = [0b" + "1" * 9000 + "]",
        "ranks = [1_0, 0o17]",
        "x = " + "{a=" * 900 + "1" + "}" * 900,
        "run = {seed = 1}",
        "ranks = [inf]",
    ),
    *(
        '"a\\u0000b" = 1',
        '"\\u202e" = 1',
        "'' = 1",
        'run.target = "a\\u001b[31m"',
        "seeds = [-0]",
        "seeds = [1, 1]",
        "[a]\n[a]",
    ),
)


def damage_toml(data, rng):
    if rng.random() < 0.4:
        lines = data.decode().splitlines()
        odd = (
            "run = 'text'",
            *ODD_LINES,
            "[run]",
            "a = " + "[" * 3000,
            "x = " + "9" * 5000,
            "a" + ".a" * 3000 + " = 1",
            "[[run]]",
            "run.lora = 3",
        )
        lines.insert(
            rng.randrange(len(lines) + 1),
            rng.choice((*odd, "ranks = [1e400]", "seeds = [nan]", "\x00", "run.train.views = 1_000_000")),
        )
        return "\n".join(lines).encode()
    values = tomllib.loads(data.decode())
    damage_values(values, rng, (*NASTY, datetime.date(2024, 1, 1), datetime.datetime(1, 1, 1), datetime.time(10)))
    try:
        return tomli_w.dumps(values).encode()
    except (TypeError, UnicodeEncodeError, ValueError):
        return data[: rng.randrange(len(data))]


FORMATS = {
    "zip": damage_zip,
    "torch": damage_torch,
    "safetensors": damage_safetensors,
    "json": damage_json,
    "toml": damage_toml,
}


def damage(data, form, rng, other):
    """The file with some damage: by its format in ``FORMATS``, or only to its bytes."""
    return damage_bytes(data, rng, other) if rng.random() < 0.4 else FORMATS[form](data, rng)

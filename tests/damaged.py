"""Damages files, one seed per file: bytes of any file, and values, tensors and members of known formats."""

import copy
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch

NASTY = (
    *(None, True, -1, 0, 1, 2**31, 2**53 + 1, 10**17, 10**30, 10**400, -0.0, 1e-320, 1e30, 1e308, np.nan, np.inf),
    *("", "x", "x" * 5000, "\ud800", "é\n<b>", "../../x", "[" * 50, "NaN", "1", "cuda:99", "\u202egnp.exe", "a\x00b"),
    *([], {}, [[]], [None] * 500, [0] * 1000, {"a": {"b": [1]}}, {"": 0}, ["a", "a"], [1.5], [True], [[1], [2, 3]]),
    *("tabicl-mini", "tabdpt-mini", "regression", "base-ft", "inference", "text", "<U99999999", "|O"),
)
TEXTS = (b"NaN", b"1e999", b"9" * 5000, b"[" * 5000, b'{"a":' * 300, b"\xff\xfe", b'"\\ud800"', b"[0" + b",0" * 50_000)


class Payload:
    """Code that must never run."""

    def __reduce__(self):
        return print, ("CODE IN A FILE WAS RUN",)


def resident(name):
    """Resident bytes of this process by the kernel's name: VmRSS, or VmHWM for the peak since it was cleared."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def damage_bytes(data, rng, other):
    """Flips, fills, cuts, splices, lengthens or empties."""
    place, start, size = rng.randrange(len(data)), rng.randrange(len(other)), rng.choice((1, 2, 8, 500))
    flipped = bytes([data[place] ^ 1 << rng.randrange(8)])
    filled = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * min(size, len(data) - place)
    ways = (
        data[:place] + flipped + data[place + 1 :],
        data[:place] + filled + data[place + len(filled) :],
        *(data[:place], data[place:], data[:place] + other[start:], data + rng.randbytes(rng.choice((1, 22, 4096)))),
        *(data[:-22] + rng.randbytes(22), b""),
    )
    return rng.choice((*ways[:2] * 3, *ways))


def damage_values(values, rng):
    """Replaces, deletes, renames, adds or repeats one to three values of a tree in place."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places, waiting = [], [values]
        while waiting:
            part = waiting.pop()
            for key in list(part if isinstance(part, dict) else range(len(part))):
                places.append((part, key))
                waiting += [part[key]] if isinstance(part[key], dict | list) else []
        if not places:
            return
        part, key = rng.choice(places)
        match rng.choice(("replace", "replace", "replace", "delete", "rename", "add", "repeat", "scale")):
            case "delete":
                del part[key]
            case "rename" if isinstance(part, dict):
                part[f"{key}x"] = part.pop(key)
            case "add" if isinstance(part, dict):
                part[rng.choice(("unknown", "views", "rank", "path"))] = rng.choice(NASTY)
            case "repeat" if isinstance(part, list):
                part[key:key] = [part[key]] * rng.choice((1, 1000))
            case "scale" if isinstance(part[key], int | float):
                part[key] = rng.choice((part[key] + 1, -part[key], part[key] * 10**6, str(part[key])))
            case _:
                value = rng.choice(NASTY)
                part[key] = copy.deepcopy(value) if isinstance(value, dict | list) else value


def damage_json(data, rng):
    if rng.random() < 0.2:
        place = rng.randrange(len(data))
        return data[:place] + rng.choice(TEXTS) + data[place + rng.choice((0, 1, 5)) :]
    damage_values(values := json.loads(data), rng)
    return json.dumps(values).encode("utf-8", "surrogatepass")


def damage_safetensors(data, rng):
    size = int.from_bytes(data[:8], "little")
    header, content = data[8 : 8 + size], bytearray(data[8 + size :])
    if rng.random() < 0.5:
        header = damage_json(header, rng)
    else:
        value = rng.choice((np.nan, np.inf, 3e38, -1e20, 1e-40))
        place, many = 4 * rng.randrange(len(content) // 4), rng.choice((1, len(content) // 4))
        content[place : place + 4 * many] = np.full(many, value, np.float32).tobytes()[: len(content) - place]
    return rng.choice((len(header),) * 9 + (2**63,)).to_bytes(8, "little") + header + content


def damage_zip(data, rng, of_torch=False):
    """Damages one member, its name or its kind; of a file of ``torch.save`` also the pickle."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [[info.filename, archive.read(info), info.external_attr] for info in archive.infolist()]
    member = rng.choice([one for one in members if one[1]])
    match rng.choice(("content",) * 8 + ("drop", "name", "twice", "link", "bomb", "many", "code")):
        case "drop":
            members.remove(member)
        case "name":
            member[0] = rng.choice(("../x", "/x", "a\\b", member[0].upper()))
        case "twice":
            members.append([member[0], b"{}", member[2]])
        case "link":
            member[2] = 0o120777 << 16
        case "bomb":
            member[1] = bytes(150_000_000)
        case "many":
            members += [[f"f{i}", b"", 0] for i in range(3000)]
        case "code":
            member[1] = pickle.dumps(Payload())
        case _:
            by_form = {"json": damage_json, "safetensors": damage_safetensors}
            form = by_form.get(member[0].rpartition(".")[2], lambda data, rng: damage_bytes(data, rng, data))
            member[1] = form(member[1], rng)
    packed, made = zipfile.ZIP_STORED if of_torch else zipfile.ZIP_DEFLATED, io.BytesIO()
    with zipfile.ZipFile(made, "w", packed) as archive:
        for name, content, attributes in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = attributes, packed
            archive.writestr(info, content)
    return made.getvalue()


def damage_torch(data, rng):
    if rng.random() < 0.4:
        return damage_zip(data, rng, of_torch=True)
    values, made = torch.load(io.BytesIO(data), weights_only=True), io.BytesIO()
    damage_values(values, rng)
    if rng.random() < 0.1:
        values["code"] = Payload()
    torch.save(values, made)
    return made.getvalue()


FORMATS = {"zip": damage_zip, "torch": damage_torch, "safetensors": damage_safetensors, "json": damage_json}


def damage(data, form, rng):
    """The file with some damage: by its format in ``FORMATS``, or only to its bytes."""
    return damage_bytes(data, rng, data) if form not in FORMATS or rng.random() < 0.4 else FORMATS[form](data, rng)

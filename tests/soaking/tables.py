"""Files that a person might upload: tables, other files, and damaged adapters.

In: a random generator. Out: bytes.
"""

import random

TARGETS = {"label": "classification", "amount": "regression"}
"""The columns of every good table that can be predicted."""


def good_table(chance: random.Random) -> bytes:
    """Numbers with missing values, words and dates; the label and the amount depend on the first two columns."""
    separator, lines = chance.choice(",;\t"), []
    for i in range(chance.randrange(80, 240)):
        size, colour = chance.gauss(0, 1), chance.choice(["red", "green", "blue"])
        strength = size + (colour == "red") + chance.gauss(0, 0.4)
        shown = "" if chance.random() < 0.05 else f"{size:.3f}"
        cells = (
            shown,
            colour,
            f"{chance.random():.3f}",
            f"2024-0{i % 9 + 1}-1{i % 7}",
            "keep" if strength > 0.3 else "drop",
        )
        lines.append(separator.join([*cells, f"{40 + 3 * strength:.2f}"]))
    return "\n".join([separator.join(["size", "colour", "noise", "seen", "label", "amount"]), *lines, ""]).encode()


def broken_table(chance: random.Random) -> tuple[str, bytes]:
    """The name and content of a file without a readable table."""
    whole = good_table(chance)
    return chance.choice(
        [
            ("empty.csv", b""),
            ("noise.csv", chance.randbytes(4000)),
            ("half.parquet", b"PAR1" + chance.randbytes(400)),
            ("half.gz", b"\x1f\x8b\x08\x00" + chance.randbytes(200)),
            ("half.zip", b"PK\x03\x04" + whole[:300]),
            ("heading.csv", b"a,b,c\n"),
        ]
    )


def broken_adapter(chance: random.Random, whole: bytes) -> bytes:
    """A truncated or changed package, or random bytes; ``whole`` may be empty."""
    if not whole or chance.random() < 0.3:
        return chance.randbytes(500)
    if chance.random() < 0.5:
        return whole[: chance.randrange(len(whole))]
    damaged, place = bytearray(whole), chance.randrange(len(whole) - 40)
    damaged[place : place + 40] = chance.randbytes(40)
    return bytes(damaged)

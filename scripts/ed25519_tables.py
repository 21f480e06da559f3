"""Print src/_native/kernels/ed25519/base_table.h: multiples of the base point of Ed25519.

Usage: python scripts/ed25519_tables.py > src/_native/kernels/ed25519/base_table.h
"""

from __future__ import annotations

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Y = 4 * pow(5, -1, P) % P
MULTIPLES = 128
SECOND_EXPONENT = 127  # The second table is that of 2^127 B.

HEAD = """\
/* Multiples of the base point (RFC 8032, 5.1) and of 2^127 times it, prepared for addition:
 * y + x, y - x, 2 d x y. Made by scripts/ed25519_tables.py; not edited by hand. */
#ifndef PLUGINAPI_ED25519_BASE_TABLE_H
#define PLUGINAPI_ED25519_BASE_TABLE_H

#include "point.h"

"""
TABLE = "const pa_point_niels_affine PA_BASE_TABLE[2][PA_BASE_MULTIPLES] = {\n"
TAIL = """\
};

#endif
"""

Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """Add two points in affine coordinates (RFC 8032, 5.1.4)."""
    product = D * a[0] * a[1] * b[0] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P
    return x, y


def base_point() -> Point:
    """Recover the base point: y = 4/5 and x even (RFC 8032, 5.1)."""
    square = (Y * Y - 1) * pow(D * Y * Y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (P - x if x % 2 else x), Y


def element(value: int) -> str:
    """Write a field element as five limbs of 51 bits."""
    limbs = [f"0x{value >> 51 * i & 2**51 - 1:013x}" for i in range(5)]
    return f"{{{{{', '.join(limbs)}}}}}"


def table(base: Point) -> str:
    """Write P, 2P, 3P and so on."""
    point = base
    lines = ["    {\n"]
    for _ in range(MULTIPLES):
        x, y = point
        plus, minus, product = (y + x) % P, (y - x) % P, 2 * D * x * y % P
        lines += [
            f"        {{{{{element(plus)},\n",
            f"          {element(minus)}}},\n",
            f"         {element(product)}}},\n",
        ]
        point = add(point, base)
    lines.append("    },\n")
    return "".join(lines)


def header() -> str:
    """Write the whole file."""
    first = second = base_point()
    x, y = first
    affine = (
        f"const pa_point_affine PA_BASE_POINT = {{\n    {element(x)},\n    {element(y)},\n}};\n"
    )
    for _ in range(SECOND_EXPONENT):
        second = add(second, second)
    return HEAD + affine + "\n" + TABLE + table(first) + table(second) + TAIL


if __name__ == "__main__":
    print(header(), end="")

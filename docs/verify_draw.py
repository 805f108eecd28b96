#!/usr/bin/env python3
"""Recomputes a draw from what was published of it, with nothing but Python's standard library.

    verify_draw.py FILE                 a draw's file, or one shopper's proof: right, or the part that is wrong
    verify_draw.py --winners FILE       also prints the winners, best first: entry, units, key
    verify_draw.py --vectors FILE       holds this script to the frozen test vectors

Written from docs/draw.md, not from the server's code: two programs by the same description have to agree.
"""

import hashlib
import hmac
import json
import sys

FORMAT = "flashsale draw 1"
LN_2 = 0x2C5C85FDF473DE6A  # ln 2 * 2^62, rounded down
MAX_WEIGHT, MAX_QUANTITY, MAX_NAME, MAX_BEACON = 1000, 100, 64, 1024


class Wrong(Exception):
    """What does not fit; the first word is the part."""


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf(line):
    return sha256(b"\x00" + line)


def node(left, right):
    return sha256(b"\x01" + left + right)


def minus_ln(n):
    """-ln(n / 2^64) in units of 2^-60: log2 by repeated squaring, times ln 2. Integers only."""
    whole = n.bit_length() - 1
    if whole == 64:
        return 0
    mantissa = n << (63 - whole)
    fraction = 0
    for _ in range(60):
        mantissa = mantissa * mantissa >> 63
        fraction <<= 1
        if mantissa >> 64:
            mantissa >>= 1
            fraction |= 1
    return (((64 - whole) << 60) - fraction) * LN_2 >> 62


def mixed(seed, beacon):
    return seed if beacon is None else hmac.digest(seed, b"beacon:" + beacon.encode(), "sha256")


def first_64_bits(seed, purpose, entry):
    return int.from_bytes(hmac.digest(seed, purpose + entry, "sha256")[:8], "big")


def key(seed, entry, weight):
    """-ln(u) / weight in units of 2^-96, u = (x + 1) / 2^64, x the first 64 bits of HMAC-SHA256(seed, "draw:" entry)."""
    return (minus_ln(first_64_bits(seed, b"draw:", entry) + 1) << 36) // weight


def opening_place(seed, entry):
    return (first_64_bits(seed, b"opening:", entry) >> 14) + 1


class Tree:
    """RFC 6962: keeps the roots of the full subtrees, the largest first."""

    def __init__(self):
        self.count, self.full = 0, []

    def push(self, root):
        size = self.count
        while size & 1:
            root = node(self.full.pop(), root)
            size >>= 1
        self.full.append(root)
        self.count += 1

    def root(self):
        if not self.full:
            return sha256(b"")
        root = self.full[-1]
        for left in reversed(self.full[:-1]):
            root = node(left, root)
        return root


def climb(root, index, count, path):
    """Where a path leads (RFC 9162, 2.1.3.2)."""
    if index >= count or len(path) > 64:
        return None
    last = count - 1
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            root = node(sibling, root)
            while index & 1 == 0 and index:
                index, last = index >> 1, last >> 1
        else:
            root = node(root, sibling)
        index, last = index >> 1, last >> 1
    return root if last == 0 else None


def published(draw):
    """Checks a draw's head; returns the seed that keys are made with."""
    if draw.get("format") != FORMAT:
        raise Wrong(f"format: {draw.get('format')!r} is not {FORMAT!r}")
    for part in ("root", "count", "units", "seed", "winners"):
        if draw.get(part) is None:
            raise Wrong(f"{part}: not published yet; the draw is not over")
    seed, beacon = bytes.fromhex(draw["seed"]), draw.get("beacon")
    if sha256(seed).hex() != draw["commitment"]:
        raise Wrong(f"seed: SHA-256(seed) is {sha256(seed).hex()}, but {draw['commitment']} was committed to")
    if beacon is not None and not 0 < len(beacon.encode()) <= MAX_BEACON:
        raise Wrong("beacon: its value is empty or too long")
    return mixed(seed, beacon)


def parse(line, number):
    parts = line.split(b" ")
    if len(parts) != 3 or any(not p.isdigit() or str(int(p)).encode() != p for p in parts[1:]):
        raise Wrong(f'line: line {number} is not "name weight quantity"')
    name, weight, quantity = parts[0], int(parts[1]), int(parts[2])
    check_entry(name, weight, quantity)
    return name, weight, quantity


def check_entry(name, weight, quantity):
    if not 0 < len(name) <= MAX_NAME or not all(33 <= byte <= 126 for byte in name):
        raise Wrong(f"entry: {name!r} is not an entry's name")
    if not 1 <= weight <= MAX_WEIGHT:
        raise Wrong(f"weight: {name.decode()} weighs {weight}")
    if not 1 <= quantity <= MAX_QUANTITY:
        raise Wrong(f"quantity: {name.decode()} wants {quantity}")


def check_draw(draw, lines):
    """The winners of a whole draw, best first: (entry, units, key)."""
    seed, tree, keys, before = published(draw), Tree(), [], b""
    for number, line in enumerate(lines, 1):
        line = line[:-1] if line.endswith(b"\n") else line
        name, weight, quantity = parse(line, number)
        if name <= before:
            raise Wrong(f"entry: line {number}: {name.decode()} does not stand behind the one before it")
        before = name
        tree.push(leaf(line))
        keys.append((key(seed, name, weight), name, quantity))
    if tree.count != draw["count"]:
        raise Wrong(f"count: {draw['count']} entries were published, and there are {tree.count}")
    if tree.root().hex() != draw["root"]:
        raise Wrong(f"root: the entries have the root {tree.root().hex()}, but {draw['root']} was published")
    keys.sort()
    winners, left = [], draw["units"]
    for number, name, quantity in keys:
        if left == 0:
            break
        winners.append((name.decode(), min(quantity, left), f"{number:026x}"))
        left -= min(quantity, left)
    cut_off = {"key": winners[-1][2], "entry": winners[-1][0]} if winners else None
    if cut_off != draw.get("cut_off"):
        raise Wrong(f"cut_off: the last winner is {cut_off}, not {draw.get('cut_off')}")
    if len(winners) != draw["winners"]:
        raise Wrong(f"winners: {len(winners)} have won, not {draw['winners']}")
    return winners


def check_proof(proof):
    """Whether one entry was in the draw, with this key, and has rightly won or not won."""
    draw, entry = proof["draw"], proof["entry"]
    seed = published(draw)
    name, weight, quantity = entry["name"].encode(), entry["weight"], entry["quantity"]
    check_entry(name, weight, quantity)
    path = [bytes.fromhex(sibling) for sibling in proof["path"]]
    root = climb(leaf(f"{entry['name']} {weight} {quantity}".encode()), proof["index"], draw["count"], path)
    in_tree = root is not None and root.hex() == draw["root"]
    mine = f"{key(seed, name, weight):026x}"
    if mine != proof["key"]:
        part = "key" if in_tree else "entry"
        raise Wrong(f"{part}: {entry['name']} has the key {mine}, not {proof['key']}")
    if not in_tree:
        raise Wrong(f"path: it leads to {root and root.hex()}, but the root is {draw['root']}")
    last = draw.get("cut_off")
    won = last is not None and (mine, entry["name"]) <= (last["key"], last["entry"])
    if won != proof["won"]:
        raise Wrong(f"won: by its key {entry['name']} has {'won' if won else 'not won'}")
    return won


def check_vectors(vectors):
    for case in vectors["commitments"]:
        assert sha256(bytes.fromhex(case["seed"])).hex() == case["commitment"], case
    for case in vectors["logarithms"]:
        assert str(minus_ln(int(case["n"]))) == case["minus_ln"], case
    for case in vectors["keys"]:
        seed = mixed(bytes.fromhex(case["seed"]), case["beacon"])
        assert f"{key(seed, case['entry'].encode(), case['weight']):026x}" == case["key"], case
    for case in vectors["opening_places"]:
        assert opening_place(bytes.fromhex(case["seed"]), case["entry"].encode()) == case["place"], case
    for case in vectors["names"]:
        text = f"flashsale entry:{case['sale']}:{case['shopper']}"
        assert sha256(text.encode()).hex()[:32] == case["entry"], case
    for case in vectors["draws"]:
        winners = check_draw(case["draw"], [line.encode() for line in case["entries"]])
        assert [list(winner) for winner in winners] == case["winners"], case
        if case["proof_of_the_third"]:
            check_proof(case["proof_of_the_third"])
    return "ok vectors"


def main(arguments):
    show = "--winners" in arguments
    files = [argument for argument in arguments if not argument.startswith("--")]
    if len(files) != 1 or set(arguments) - set(files) - {"--winners", "--vectors"}:
        sys.exit(__doc__)
    with open(files[0], "rb") as file:
        if "--vectors" in arguments:
            return check_vectors(json.load(file))
        first = file.readline()
        try:
            head = json.loads(first)
        except ValueError:  # over several lines: a proof
            head = json.loads(first + file.read())
        if "path" in head:
            return f"ok proof: {head['entry']['name']} has {'won' if check_proof(head) else 'not won'}"
        winners = check_draw(head, file)
        lines = [f"ok sale={head['sale']} entries={head['count']} units={head['units']} winners={len(winners)}"]
        if show:
            lines += [f"{name} {units} {number}" for name, units, number in winners]
        return "\n".join(lines)


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except Wrong as wrong:
        sys.exit(f"bad {wrong}")

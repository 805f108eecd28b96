#!/usr/bin/env python3
"""Recomputes a draw from what was published of it, with nothing but Python's standard library.

    verify_draw.py FILE                 a draw's file, or one shopper's proof: right, or the part that is wrong
    verify_draw.py --winners FILE       also prints the winners, best first: entry, units, key
    verify_draw.py --shopper=ID FILE    of a proof: also whether the entry is this shopper's
    verify_draw.py --vectors FILE       holds this script to the frozen test vectors

Written from docs/draw.md, not from the server's code: two programs by the same description have to agree.
"""

import bisect
import hashlib
import hmac
import json
import re
import sys

FORMATS = {"flashsale draw 1": 1, "flashsale draw 2": 2}
LN_2 = 0x2C5C85FDF473DE6A  # ln 2 * 2^62, rounded down
MAX_WEIGHT, MAX_QUANTITY, MAX_NAME, MAX_BEACON, MAX_PROOF = 1000, 100, 64, 1024, 65536


class Wrong(Exception):
    """What does not fit; the first word is the part."""


def sha256(data):
    return hashlib.sha256(data).digest()


def read_json(text):
    """One object, in which no field stands twice."""

    def once(pairs):
        fields = {}
        for name, value in pairs:
            if name in fields:
                raise ValueError(f"the field {name!r} stands there twice")
            fields[name] = value
        return fields

    def whole(digits):
        if digits == "-0":
            raise ValueError("-0 is no whole number")
        return int(digits)

    def no(word):
        raise ValueError(f"{word} is no JSON")

    head = json.loads(text.decode(), object_pairs_hook=once, parse_int=whole, parse_constant=no)
    json.dumps(head, ensure_ascii=False).encode()  # half of a pair of UTF-16 is no text
    if not isinstance(head, dict):
        raise ValueError("it is no object")
    if ("format" in head) == ("draw" in head) or ("format" in head and "path" in head):
        raise ValueError("it is neither a draw nor a proof")
    return head


def field(of, name, kind, digits=None):
    """A field of this kind; a text of so many hex digits in lower case, where a number of them is named."""
    value = of.get(name)
    fits = type(value) is kind and (kind is not int or 0 <= value < 2**64)
    if digits and fits:
        fits = len(value) == digits and not set(value) - set("0123456789abcdef")
    if not fits:
        what = f"{digits} hex digits in lower case" if digits else {str: "a text", int: "a number from 0", bool: "true or false", list: "a list", dict: "an object"}[kind]
        raise Wrong(f"{name}: {value!r} is not {what}")
    return value


def rank(of, name):
    """Key and name of an entry, or None where the field is not there."""
    if of.get(name) is None:
        return None
    return field(field(of, name, dict), "key", str, 26), field(of[name], "entry", str)


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


def entry_name(version, sale, shopper, nonce=None):
    """A shopper's name among the entries. In format 2 it needs the nonce of the shopper's client; without one, an empty nonce."""
    if version == 1:
        text = f"flashsale entry:{sale}:{shopper}"
    else:
        text = f"flashsale entry 2:{sale}:{shopper}:{nonce or ''}"
    return sha256(text.encode()).hex()[:32]


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


def version_of(draw):
    """The number of a draw's format."""
    found = draw.get("format")
    if type(found) is not str or found not in FORMATS:
        raise Wrong(f"format: {found!r} is not one of {', '.join(map(repr, FORMATS))}")
    return FORMATS[found]


def published(draw):
    """Checks a draw's head; returns the seed that keys are made with."""
    version_of(draw)
    for part in ("root", "count", "units", "seed", "winners"):
        if draw.get(part) is None:
            raise Wrong(f"{part}: not published yet; the draw is not over")
        field(draw, part, *((str, 64) if part in ("root", "seed") else (int,)))
    if not re.fullmatch("[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}", field(draw, "sale", str)):
        raise Wrong(f"sale: {draw['sale']!r} is no sale's id")
    if type(draw.get("over", False)) is not bool:
        raise Wrong("over: it is neither true nor false")
    for part in ("awaits", "beacon"):
        if draw.get(part) is not None:
            field(draw, part, str)
    seed, beacon = bytes.fromhex(draw["seed"]), draw.get("beacon")
    if sha256(seed).hex() != field(draw, "commitment", str, 64):
        raise Wrong(f"seed: SHA-256(seed) is {sha256(seed).hex()}, but {draw['commitment']} was committed to")
    if (beacon is None) != (draw.get("awaits") is None):
        raise Wrong("beacon: a draw that awaits one has its value, and no other draw has")
    if beacon is not None and not 0 < len(beacon.encode()) <= MAX_BEACON:
        raise Wrong("beacon: its value is empty or too long")
    return mixed(seed, beacon)


def parse(line, number):
    parts = line.split(b" ")
    if len(parts) != 3 or any(not 0 < len(p) <= 10 or not p.isdigit() or str(int(p)).encode() != p for p in parts[1:]):
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
    cut_off = (winners[-1][2], winners[-1][0]) if winners else None
    if cut_off != rank(draw, "cut_off"):
        raise Wrong(f"cut_off: the last winner is {cut_off}, not {rank(draw, 'cut_off')}")
    if len(winners) != draw["winners"]:
        raise Wrong(f"winners: {len(winners)} have won, not {draw['winners']}")
    last, called = rank(draw, "last_called"), 0
    if last is not None:
        at = (int(last[0], 16), last[1].encode())
        called = bisect.bisect_right(keys, (*at, MAX_QUANTITY))
        if called == 0 or keys[called - 1][:2] != at:
            raise Wrong("last_called: there is no such entry")
    if called != (field(draw, "called", int) if draw.get("called") is not None else 0):
        raise Wrong(f"called: {called} stand up to the last one called, not {draw.get('called')}")
    return winners


def check_proof(proof, shopper=None):
    """Whether one entry (of this shopper) was in the draw, with this key, and has rightly won or not won."""
    draw, entry = field(proof, "draw", dict), field(proof, "entry", dict)
    seed = published(draw)
    nonce = field(proof, "nonce", str, 32) if proof.get("nonce") is not None else None
    if nonce is not None and version_of(draw) == 1:
        raise Wrong("nonce: a draw of format 1 has none")
    if (proof.get("shopper") is not None) != (version_of(draw) == 2):
        raise Wrong("shopper: a proof of format 2 has it, and no other proof")
    named = [who for who in (proof.get("shopper") and field(proof, "shopper", str), shopper) if who is not None]
    for who in named:
        if entry_name(version_of(draw), draw["sale"].upper(), who, nonce) != entry.get("name"):
            raise Wrong(f"entry: {entry.get('name')!r} is not the name of {who}")
    name, weight, quantity = field(entry, "name", str).encode(), field(entry, "weight", int), field(entry, "quantity", int)
    check_entry(name, weight, quantity)
    path = [bytes.fromhex(field({"path": sibling}, "path", str, 64)) for sibling in field(proof, "path", list)]
    root = climb(leaf(f"{entry['name']} {weight} {quantity}".encode()), field(proof, "index", int), draw["count"], path)
    in_tree = root is not None and root.hex() == draw["root"]
    mine = f"{key(seed, name, weight):026x}"
    if mine != field(proof, "key", str, 26):
        part = "key" if in_tree else "entry"
        raise Wrong(f"{part}: {entry['name']} has the key {mine}, not {proof['key']}")
    if not in_tree:
        raise Wrong(f"path: it leads to {root and root.hex()}, but the root is {draw['root']}")
    up_to = {part: rank(draw, part) for part in ("cut_off", "last_called")}
    within = {part: last is not None and (mine, entry["name"]) <= last for part, last in up_to.items()}
    won, called = within["cut_off"], within["last_called"]
    if won != field(proof, "won", bool):
        raise Wrong(f"won: by its key {entry['name']} has {'won' if won else 'not won'}")
    if called != (field(proof, "called", bool) if "called" in proof else False):
        raise Wrong(f"called: by its key {entry['name']} has {'been called' if called else 'not been called'}")
    return "won" if won else "not-won called" if called else "not-won"


def check_private_vectors(vectors):
    for case in vectors["private_names"]:
        assert entry_name(2, case["sale"], case["shopper"], case["nonce"]) == case["entry"], case
    for case in vectors["private_draws"]:
        winners = check_draw(case["draw"], [line.encode() for line in case["entries"]])
        assert [list(winner) for winner in winners] == case["winners"], case
        outcomes = [check_proof(each["proof"], each["shopper"]) for each in case["proofs"]]
        assert outcomes.count("won") == len(winners), case
    return "ok vectors"


def check_vectors(vectors):
    if "private_names" in vectors:
        return check_private_vectors(vectors)
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
        assert entry_name(1, case["sale"], case["shopper"]) == case["entry"], case
    for case in vectors["draws"]:
        winners = check_draw(case["draw"], [line.encode() for line in case["entries"]])
        assert [list(winner) for winner in winners] == case["winners"], case
        if case["proof_of_the_third"]:
            check_proof(case["proof_of_the_third"])
    for case in vectors["passed_on"]:
        winners = check_draw(case["draw"], [line.encode() for line in case["entries"]])
        outcomes = [check_proof(proof) for proof in case["proofs"]]
        assert outcomes.count("won") == len(winners), case
        assert len(winners) + outcomes.count("not-won called") == max(case["draw"]["called"], len(winners)), case
    return "ok vectors"


def main(arguments):
    show = "--winners" in arguments
    files = [argument for argument in arguments if not argument.startswith("--")]
    shoppers = [argument for argument in arguments if argument.startswith("--shopper=")]
    if len(files) != 1 or len(shoppers) > 1 or set(arguments) - set(files + shoppers) - {"--winners", "--vectors"}:
        sys.exit(__doc__)
    shopper = shoppers[0].partition("=")[2] if shoppers else None
    try:
        file = open(files[0], "rb")
    except OSError as error:
        sys.exit(f"{files[0]}: {error.strerror}")
    with file:
        if "--vectors" in arguments:
            return check_vectors(json.load(file))
        first = file.readline(MAX_PROOF)
        try:
            if len(first) == MAX_PROOF:
                raise ValueError("the line is too long")
            try:
                head = read_json(first)
            except ValueError:  # over several lines: a proof
                head = read_json(first + file.read(MAX_PROOF))
            if "draw" in head and file.read(MAX_PROOF).strip():
                raise ValueError("something stands behind the proof")
        except (ValueError, RecursionError) as error:
            raise Wrong(f"format: neither a draw's file nor a proof: {error}")
        if "draw" in head:
            outcome = check_proof(head, shopper)
            return f"ok sale={head['draw']['sale']} entry={head['entry']['name']} {outcome}"
        if shopper is not None:
            raise Wrong("entry: only a proof shows whose an entry is")
        winners = check_draw(head, file)
        lines = [f"ok sale={head['sale']} entries={head['count']} units={head['units']} winners={len(winners)}"]
        if head.get("called") is not None:
            lines[0] += f" called={head['called']}"
        if show:
            lines += [f"{name} {units} {number}" for name, units, number in winners]
        return "\n".join(lines)


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except Wrong as wrong:
        sys.exit(f"bad {wrong}")

#!/usr/bin/env python3
"""Makes the published test vectors, tests/vectors/. The files are committed;
tests do not need this script. Every case has its own seed, which is its name,
so that adding a case leaves the others byte for byte as they were.

    make_vectors.py [DIRECTORY]
"""
import base64
import hashlib
import json
import os
import re
import shutil
import struct
import sys

from nacl import bindings as sodium

import equivocation
import reader
import writer

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENT = os.path.join(HERE, "..", "..", "docs", "design", "format.md")


class Seeded:
    def __init__(self, seed):
        self.seed, self.count = seed.encode(), 0

    def __call__(self, size):
        self.count += 1
        return hashlib.shake_256(b"sealkit vectors 1\0%d\0%s" % (self.count, self.seed)).digest(size)


# --- keys ----------------------------------------------------------------------------------------


KEYS, SECRETS = {}, {}


def key(name):
    if name not in KEYS:
        prefix = "age-secret-key-pq-" if name.endswith("-pq") else "age-secret-key-"
        SECRETS[name] = reader.bech32_encode(prefix, Seeded("key " + name)(32)).upper()
        KEYS[name] = writer.Recipient(reader.Identity(SECRETS[name]).recipient)
    return KEYS[name]


def fp(name):
    return key(name).fingerprint


FILES = {
    "alpha-pq": ["alpha-pq"], "beta-pq": ["beta-pq"], "recovery-pq": ["recovery-pq"],
    "stranger-pq": ["stranger-pq"], "alpha-x": ["alpha-x"], "beta-x": ["beta-x"],
    "recovery-x": ["recovery-x"], "stranger-x": ["stranger-x"],
    "ring-pq": ["alpha-pq", "beta-pq"], "ring-x": ["alpha-x", "beta-x"],
    "ring-both": ["alpha-pq", "alpha-x"],
    "sister-pq": ["sister-pq"], "sister-x": ["sister-x"],
}

# --- objects as text -----------------------------------------------------------------------------


class Raw(str):
    """YAML text to be written as it stands."""


class Pairs(list):
    """A mapping as pairs, so that a key can come twice."""


def scalar(value):
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f").replace(
            "\u2028", "\\u2028")
    if isinstance(value, list) and not isinstance(value, Pairs):
        return "[" + ", ".join(map(scalar, value)) + "]"
    return json.dumps(value)


def emit(value, indent=0):
    """Block YAML; keys are written bare at the upper levels and quoted below."""
    lines = []
    for name, item in value.items() if isinstance(value, dict) else value:
        plain = isinstance(name, Raw) or name in BARE and indent in (0, 2)
        head = " " * indent + (str(name) if plain else scalar(name)) + ":"
        if indent == 6 and name in BARE:
            head = " " * indent + name + ":"
        if isinstance(item, (dict, Pairs)) and item:
            lines += [head] + emit(item, indent + 2)
        elif isinstance(item, (dict, Pairs)):
            lines.append(head + " {}")
        else:
            lines.append(head + " " + scalar(item))
    return lines


BARE = {"apiVersion", "kind", "metadata", "spec", "status", "name", "namespace", "annotations",
        "managedFields", "scope", "envelopes", "encryptedData", "target", "template", "suspend",
        "recipients", "ageFile"}


class Object:
    """An object in the making. `names` is what goes into metadata; `scope` None leaves it out."""

    def __init__(self, *to, scope="strict", namespace="shop", name="db", values=None, **options):
        self.scope, self.namespace, self.name = scope, namespace, name
        self.metadata = {"name": name, "namespace": namespace}
        self.spec = {} if scope is None else {"scope": scope}
        self.envelopes, self.values, self.plain, self.keys = {}, {}, {}, {}
        self.spec["envelopes"], self.spec["encryptedData"] = self.envelopes, self.values
        self.rest = {"apiVersion": "sealkit.dev/v1beta1", "kind": "SealedSecret"}
        if to:
            self.envelope(*to, **options)
            for item, value in (values or {"USER": b"shop", "PASSWORD": b"not a secret"}).items():
                self.value(item, value)

    def bound(self):
        scope = self.scope or "strict"
        return (scope, self.namespace if scope != "cluster-wide" else "",
                self.name if scope == "strict" else "")

    def envelope(self, *to, id=None, data_key=None, render=False, fields=None, plain=None,
                 stanzas=None, hints=None, age=None, text=None, entry=None):
        """An envelope for the named keys, in the order of their fingerprints. `id` is where it
        stands, if not where it belongs. The functions change it on the way: fields of the
        plaintext, plaintext, stanza texts, hints, age file, its base64, entry."""
        data_key, file_key = data_key or writer.new_key(render), writer.random(16)
        own_id = reader.envelope_id(data_key, render)
        id = id or own_id
        to = sorted(map(key, to), key=lambda one: one.fingerprint)
        scope, namespace, name = self.bound()
        env = {"v": 1, "id": own_id, "scope": scope, "namespace": namespace, "name": name,
               "render": render, "to": [one.fingerprint for one in to],
               "key": base64.b64encode(data_key).decode()}
        env = fields(env) if fields else env
        json_text = json.dumps(env, separators=(",", ":")).encode()
        json_text = plain(json_text) if plain else json_text
        body = [writer.stanza(*one.wrap(file_key)) for one in to]
        body = stanzas(body, file_key) if stanzas else body
        data = writer.age_file(body, file_key, json_text)
        data = age(data, file_key) if age else data
        found = [one.fingerprint for one in to]
        found = hints(found) if hints else found
        b64 = base64.b64encode(data).decode()
        out = {"recipients": found, "ageFile": text(b64) if text else b64}
        self.envelopes[id] = entry(out) if entry else out
        self.keys[id] = data_key
        self.last = id
        return id

    def value(self, item, value=b"shop", id=None, plain=None, raw=None, aad=None):
        """Seal one value; aad: other parts of the additional data."""
        id = id or self.last
        scope, namespace, name = self.bound()
        aad = {"scope": scope, "namespace": namespace, "name": name, "item": item,
               "envelope_id": id, **(aad or {})}
        sealed = writer.seal_value(self.keys[id], reader.additional_data(**aad),
                                   writer.pad(value) if plain is None else plain)
        self.values[item] = writer.value_text(id, raw(sealed) if raw else sealed)
        self.plain[item] = value

    def data(self):
        return {**self.rest, "metadata": self.metadata, "spec": self.spec}

    def text(self):
        return "\n".join(emit(self.data())) + "\n"

    def change(self, old, new, count=1):
        """A change of the text itself."""
        text = self.text()
        assert old in text, old
        self.text = lambda: text.replace(old, new, count)
        return self


# --- the cases -------------------------------------------------------------------------------------

CASES, NAMES = [], set()
CODES = {}


def case(name, identity, why, make, rule=None, warn=None, values=None):
    """`make` builds the object; a rule says that and how it fails."""
    assert name not in NAMES, name
    NAMES.add(name)
    writer.random = Seeded(name)
    made = make()
    text = made if isinstance(made, str) else made.text()
    expect = CODES[rule] if rule else "opens"
    if rule is None and values is None:
        values = made.plain
    CASES.append(({
        "case": name, "file": f"{len(CASES) + 1:03d}-{name}.yaml", "identity": f"keys/{identity}.key",
        "expect": expect, "warn": warn, "rule": rule, "why": why,
        "values": None if rule else {k: base64.b64encode(v).decode() for k, v in values.items()},
    }, text))


def load_codes():
    with open(DOCUMENT, encoding="utf-8") as file:
        for line in file:
            row = re.fullmatch(r"\| `([a-z0-9-]+)` \| .* \| (\w+) \|\n", line)
            if row and row[2] in ("InvalidSpec", "NoMatchingKey", "DecryptFailed", "ScopeMismatch"):
                CODES[row[1]] = row[2]


def flip(data, position, bit=1):
    data = bytearray(data)
    data[position] ^= bit
    return bytes(data)


def next_char(text, alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):
    """Sets an unused trailing bit: same bytes for a careless decoder."""
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


def some_id():
    return reader.envelope_id(writer.random(32), False)


def bad_ids(id):
    """By name: ids that the grammar excludes."""
    return {"upper": id.upper(), "31": id[:31], "33": id + "a", "empty": "", "newline": id + "\n",
            "padded": id[:31] + "=", "dash": id[:31] + "-", "hex": "4be1c07d92aa6f03",
            **{f"digit-{digit}": id[:16] + digit + id[17:] for digit in "0189"}}


def ascending_keys(count):
    """Data keys in the order of their ids."""
    keys = [writer.new_key(False) for _ in range(count)]
    return sorted(keys, key=lambda one: reader.envelope_id(one, False))


def grease(kind="x-grease", args=("a",), body=b"\x17" * 5):
    return writer.stanza_text(kind, list(args), body)


def with_pieces(index, function):
    """Change one stanza, given as [type, argument, body bytes]."""
    def change(stanzas, _):
        head, *lines = stanzas[index].rstrip("\n").split("\n")
        _, kind, argument = head.split(" ")
        body = reader.b64_bare("".join(lines))
        stanzas[index] = function(kind, argument, body)
        return stanzas
    return change


LOW_ORDER = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")


def low_order_classic(name, share, file_key):
    """Opens for a reader that forgets the all-zero check."""
    wrap = reader.hkdf(bytes(32), share + key(name).point, b"age-encryption.org/v1/X25519")
    return writer.stanza("X25519", share, writer.chacha_seal(wrap, bytes(12), file_key))


def hybrid_stanza(name, file_key, share, shared_t):
    one = key(name)
    ss, ct = reader.ML_KEM_768._encaps_internal(one.ek, writer.random(32))
    wrap, nonce = reader.hpke_key(reader.xwing(ss, shared_t, share, one.point))
    return writer.stanza("mlkem768x25519", ct + share, writer.chacha_seal(wrap, nonce, file_key))


def top_bit(name):
    """A share with its highest bit set, which X25519 ignores and the hashes do not."""
    def change(_, file_key):
        e = writer.random(32)
        share = flip(sodium.crypto_scalarmult_base(e), 31, 0x80)
        z = reader.x25519(e, key(name).point)
        if name.endswith("-pq"):
            return [hybrid_stanza(name, file_key, share, z)]
        wrap = reader.hkdf(z, share + key(name).point, b"age-encryption.org/v1/X25519")
        return [writer.stanza("X25519", share, writer.chacha_seal(wrap, bytes(12), file_key))]
    return change


def order(*names):
    return sorted(names, key=fp)


def good():
    case("hybrid-one", "alpha-pq", "hybrid key, one recipient, scope strict",
         lambda: Object("alpha-pq"))
    case("classic-one", "alpha-x", "classic key, one recipient, scope strict",
         lambda: Object("alpha-x"))
    pq, xs = ("alpha-pq", "beta-pq", "recovery-pq"), ("alpha-x", "beta-x", "recovery-x")
    case("hybrid-three", "beta-pq", "two clusters and a recovery key: one cluster",
         lambda: Object(*pq))
    case("hybrid-three-recovery", "recovery-pq", "two clusters and a recovery key: the recovery key",
         lambda: Object(*pq))
    case("classic-three", "recovery-x", "three classic recipients", lambda: Object(*xs))
    case("stranger-too-many-keys", "ring-both", "held keys that no hint names do not matter",
         lambda: Object("alpha-x", "beta-x"))

    def renamed(scope, namespace="shop", name="db"):
        o = Object("alpha-x", scope=scope)
        o.metadata = {"name": name, "namespace": namespace}
        return o
    case("namespace-wide-renamed", "alpha-x", "namespace-wide does not bind the name",
         lambda: renamed("namespace-wide", name="other"))
    case("cluster-wide-moved", "alpha-x", "cluster-wide binds neither namespace nor name",
         lambda: renamed("cluster-wide", "elsewhere", "other"))

    def bare():
        o = Object("alpha-x", scope="cluster-wide")
        o.metadata = {"annotations": {"note": "no name, no namespace"}}
        return o
    case("cluster-wide-no-names", "alpha-x", "names that are not bound are not looked at, even if they are missing", bare)
    case("namespace-wide-bad-name", "alpha-x", "a name that is not bound is not looked at",
         lambda: renamed("namespace-wide", name="NOT A NAME"))
    case("scope-absent", "alpha-x", "an absent scope is strict", lambda: Object("alpha-x", scope=None))

    def api():
        o = Object("alpha-x")
        o.rest = {"apiVersion": "sealkit.dev/v1", "kind": "SealedSecret"}
        return o
    case("api-version-other", "alpha-x", "apiVersion is bound to nothing", api)
    case("render-true", "alpha-x", "render has no influence on opening",
         lambda: Object("alpha-x", render=True))
    case("other-spec-fields", "alpha-x", "target, template and suspend belong to the resource",
         lambda: (lambda o: (o.spec.update(target={"name": "db-secret"}, suspend=False,
                                           template={"type": "Opaque"}), o)[1])(Object("alpha-x")))

    def several():
        o = Object(scope="strict")
        for item, to in (("A", ("alpha-pq",)), ("B", ("alpha-x", "beta-x")), ("C", ("alpha-pq", "beta-pq"))):
            o.envelope(*to)
            o.value(item, item.encode())
        return o
    case("several-envelopes", "ring-both", "each envelope has its own recipients and key type", several)
    sizes = (0, 1, 59, 60, 61, 124, 125, 252, 253, 508, 509, 1020)
    case("lengths-small", "alpha-x", "buckets 64 to 1024, on both sides of their edges",
         lambda: Object("alpha-x", values={f"n{n}": writer.random(n) for n in sizes}))
    sizes = (1021, 1084, 1085, 2044, 2045, 5000, 65536)
    case("lengths-large", "alpha-x", "Padmé beyond L = 1024",
         lambda: Object("alpha-x", values={f"n{n}": writer.random(n) for n in sizes}))
    case("binary", "alpha-pq", "values are bytes", lambda: Object("alpha-pq", values={
        "all": bytes(range(256)), "nul": b"\0", "latin": b"\xff\xfe", "zeros": bytes(61),
        "text": "Grüße €\r\n".encode()}))
    items = (".a", "-", "_", "a..b", "0", "1", "1e5", "null", "true", "no", "k" * 253,
             "-._azAZ09", "recipients", "envelopes")
    case("item-keys", "alpha-x", "every legal character, 253 of them, and names that YAML would read as something else",
         lambda: Object("alpha-x", values={i: i.encode() for i in items}))
    for label, id in (("digits", "234567" * 5 + "23"), ("exponent", "2" * 30 + "e5")):
        case(f"unreferenced-id-{label}", "alpha-x", "an id that YAML would read as a number, quoted",
             lambda id=id: (lambda o: (o.envelopes.update({id: None}), o)[1])(Object("alpha-x")))
    def unquoted():
        o = Object("alpha-x", values={"1": b"one", "true": b"yes"})
        for name in (o.last, "1", "true"):
            o.change(f'"{name}":', f"{name}:")
        return o
    case("keys-unquoted", "alpha-x", "mapping keys are read as their text, also without quotes", unquoted)
    for label, change in (("empty", lambda s: None), ("absent", lambda s: s.pop("encryptedData"))):
        def none(change=change):
            o = Object("alpha-x", values={"X": b""})
            o.values.clear(), o.plain.clear(), change(o.spec)
            return o
        case(f"values-{label}", "stranger-x", "an object without values opens to no values, whoever asks", none)
    case("spec-empty", "alpha-x", "envelopes and encryptedData may be absent",
         lambda: (lambda o: (o.spec.clear(), o)[1])(Object()))
    for label, entry in (("entry", {"recipients": 7, "other": [None]}), ("null", None), ("string", "x")):
        def unreferenced(entry=entry):
            o = Object("alpha-x")
            o.envelopes[some_id()] = entry
            return o
        case(f"unreferenced-{label}", "alpha-x", "the entry of an envelope that no value names is not looked at", unreferenced)
    case("unreferenced-foreign", "alpha-x", "an envelope that no value names is not opened",
         lambda: (lambda o: (o.envelope("stranger-x"), o)[1])(Object("alpha-x")))
    case("unreferenced-other-key", "alpha-x", "an envelope that no value names is not opened, so its id may be that of another key",
         lambda: (lambda o: (o.envelope("alpha-x", id=some_id()), o)[1])(Object("alpha-x")))
    case("json-text", "alpha-x", "the object as JSON text", lambda: (
        lambda o: (setattr(o, "text", lambda: json.dumps(o.data()) + "\n"), o)[1])(Object("alpha-x")))

    long = "x" * 100 + "." + ".".join(["y" * 50] * 2) + "." + "z" * 50
    case("name-253", "alpha-x", "a name of 253 characters in which one label is longer than 63",
         lambda: Object("alpha-x", name=long, namespace="n" * 63))
    assert len(long) == 253
    for kind in ("pq", "x"):
        def many(kind=kind):
            names = [f"alpha-{kind}"] + [f"many{i}-{kind}" for i in range(31)]
            return Object(*names, name=long, namespace="n" * 63)
        case(f"recipients-32-{kind}", f"alpha-{kind}",
             "32 recipients, and the longest plaintext an envelope can have", many)

    def envelopes64():
        o = Object()
        for i in range(64):
            o.envelope("alpha-x")
            if i % 2 == 0:
                o.value(f"K{i}", b"%d" % i)
        return o
    case("envelopes-64", "alpha-x", "64 envelopes are allowed", envelopes64)
    case("stanzas-64", "alpha-x", "64 stanzas are allowed",
         lambda: Object("alpha-x", stanzas=lambda s, _: [grease(body=b"")] * 40 + s + [grease()] * 23))
    case("stanzas-64-recipients-32", "alpha-x", "32 accepted stanzas among 64",
         lambda: Object("alpha-x", *[f"many{i}-x" for i in range(31)],
                        stanzas=lambda s, _: [x for one in s for x in (grease(), one)]))
    case("header-131072", "alpha-x", "a header of exactly 131,072 bytes", lambda: sized_header(131072))

    case("grease-between", "ring-x", "hint i is for the i-th accepted stanza, not for the i-th stanza",
         lambda: Object("alpha-x", "beta-x", stanzas=lambda s, _: [s[0], grease(), s[1]]))
    case("grease-shapes", "alpha-x", "grease may have any arguments and any body",
         lambda: Object("alpha-x", stanzas=lambda s, _: [
             grease("-grease", ()), grease("X25519-grease", ("!", "~~~", "=")), *s,
             grease("mlkem768x25519-grease", (), b""), grease(body=bytes(48)), grease(body=bytes(96))]))
    case("share-top-bit", "alpha-x", "the canonical form of 2.2 is for recipients; in a share X25519 ignores the top bit",
         lambda: Object("alpha-x", stanzas=top_bit("alpha-x")))
    case("share-top-bit-hybrid", "alpha-pq", "the same in the X25519 part of a hybrid share",
         lambda: Object("alpha-pq", stanzas=top_bit("alpha-pq")))
    first, second = order("alpha-x", "beta-x")
    case("low-order-then-next", "ring-x", "an all-zero X25519 result is a stanza that does not unwrap; the next hint is tried",
         lambda: Object("alpha-x", "beta-x", stanzas=lambda s, k: [low_order_classic(first, bytes(32), k), s[1]]))
    case("damaged-then-next", "ring-x", "a stanza that does not unwrap; the next hint is tried",
         lambda: Object("alpha-x", "beta-x", stanzas=with_pieces(
             0, lambda k, a, b: writer.stanza_text(k, [a], flip(b, 0)))))
    case("two-file-keys-first", first, "stanzas wrap different file keys; this one's made the MAC",
         lambda: Object("alpha-x", "beta-x", stanzas=lambda s, _: [s[0], writer.stanza(*key(second).wrap(bytes(16)))]))

    case("hint-unknown", "alpha-x", "a hint that names nobody: opens, and is reported",
         lambda: Object("alpha-x", "beta-x", hints=lambda h: [x if x == fp("alpha-x") else "0" * 32 for x in h]),
         warn="HintMismatch")
    case("to-names-more", "alpha-x", "`to` names a recipient that the hints lack",
         lambda: Object("alpha-x", fields=lambda e: {**e, "to": order_fps("alpha-x", "beta-x")}),
         warn="HintMismatch")
    case("to-names-others", "alpha-x", "the key that opens need not be in `to`",
         lambda: Object("alpha-x", fields=lambda e: {**e, "to": [fp("beta-x")]}), warn="HintMismatch")
    case("hints-other-order", "ring-x", "hints and stanzas in another order than `to`",
         lambda: Object("alpha-x", "beta-x", stanzas=lambda s, _: s[::-1], hints=lambda h: h[::-1]),
         warn="HintMismatch")
    case("hint-of-other-type-beside", "ring-both", "a hint that names a held key of the other type opens nothing; the next one does",
         lambda: Object("alpha-x", "beta-x", hints=lambda h: [x if x == fp("alpha-x") else fp("alpha-pq") for x in h]),
         warn="HintMismatch")

    def one_of_two():
        o = Object("alpha-x", "beta-x", values={"A": b"a"})
        o.envelope("alpha-x", fields=lambda e: {**e, "to": order_fps("alpha-x", "beta-x")})
        o.value("B", b"b")
        return o
    case("hint-mismatch-one-of-two", "alpha-x", "one envelope of two has hints that differ from `to`", one_of_two,
         warn="HintMismatch")


def order_fps(*names):
    return sorted(map(fp, names))


def sized_header(size):
    def stanzas(s, _):
        fixed = len("age-encryption.org/v1\n" + "".join(s) + "-> x-grease \n\n" + "--- " + "m" * 43 + "\n")
        return s + [grease(args=("g" * (size - fixed),), body=b"")]
    o = Object("alpha-x", stanzas=stanzas)
    return o


def sized_object(size, more):
    o = Object("alpha-x")
    o.metadata["annotations"] = {"mixed": "\n\t\x01\"\\/<>&\x7f\u2028é€😀", "pad": ""}
    if more:
        o.metadata["managedFields"] = ["m" * 3000]
        o.rest["status"] = {"note": "s" * 3000}
    o.metadata["annotations"]["pad"] = "a" * (size - reader.object_size(o.data()))
    return o


def set_spec(**fields):
    def make():
        o = Object("alpha-x")
        o.spec.update(fields)
        return o
    return make


def changed(old, new, **options):
    return lambda: Object("alpha-x", **options).change(old, new)


def bad_public():
    a = "alpha-x"
    case("object-size", a, "1,200,001 bytes of compact JSON", lambda: sized_object(1_200_001, False), "object-size")
    case("spec-missing", a, "no spec", lambda: (lambda o: (setattr(o, "data", lambda: {**o.rest, "metadata": o.metadata}), o)[1])(Object(a)), "object-shape")
    case("spec-null", a, "spec is null", lambda: (lambda o: (setattr(o, "spec", None), o)[1])(Object(a)), "object-shape")
    case("envelopes-null", a, "envelopes is null, without any value", lambda: (lambda o: (o.values.clear(), o.spec.update(envelopes=None), o)[2])(Object(a)), "object-shape")
    case("values-null", a, "encryptedData is null", set_spec(encryptedData=None), "object-shape")
    case("envelopes-list", a, "envelopes is a list", set_spec(envelopes=[]), "object-shape")
    case("values-list", a, "encryptedData is a list", set_spec(encryptedData=[]), "object-shape")
    for label, value in (("null", None), ("number", 7), ("list", ["sk1."])):
        case(f"value-{label}", a, f"a value is a {label}" if label != "null" else "a value is null",
             lambda value=value: (lambda o: (o.values.update(MORE=value), o)[1])(Object(a)), "object-shape")

    def beside(first, second):
        def make():
            o = Object(a, values={"1": b"one", "2": b"two"})
            pairs = Pairs((Raw(first) if k == "1" else Raw(second), v) for k, v in o.values.items())
            o.spec["encryptedData"] = pairs
            return o
        return make
    case("item-key-twice", a, "the same item key twice", beside('"K"', '"K"'), "object-shape")
    case("item-key-twice-quoting", a, "the same item key twice, with other quotes", beside('"K"', "'K'"), "object-shape")
    case("item-key-twice-number", a, "1 beside \"1\": the same text", beside("1", '"1"'), "object-shape")
    case("scope-twice", a, "the same field twice", lambda: Object(a).change("  scope:", "  scope: strict\n  scope:"), "object-shape")

    def twice():
        o = Object(a)
        o.spec["envelopes"] = Pairs(list(o.envelopes.items()) * 2)
        return o
    case("envelope-twice", a, "the same envelope twice", twice, "object-shape")
    case("hints-twice", a, "recipients twice in an entry", lambda: Object(a).change(
        "      recipients:", f"      recipients: [\"{fp(a)}\"]\n      recipients:"), "object-shape")

    for label, namespace, name in (
            ("namespace-missing", None, "db"), ("name-missing", "shop", None),
            ("namespace-upper", "Shop", "db"), ("namespace-dot", "a.b", "db"), ("namespace-64", "n" * 64, "db"),
            ("name-empty", "shop", ""), ("name-underscore", "shop", "a_b"), ("name-254", "shop", "n" * 254),
            ("name-dash", "shop", "db-"), ("name-dots", "shop", "a..b"), ("name-newline", "shop", "db\n"),
            ("name-number", "shop", Raw("12"))):
        def names(namespace=namespace, name=name):
            o = Object(a, namespace=namespace or "", name=name or "")
            o.metadata = {k: v for k, v in (("name", name), ("namespace", namespace)) if v is not None}
            return o
        case(label, a, "a bound namespace must be a DNS label, a bound name a DNS subdomain", names, "object-names")
    case("spec-field-unknown", a, "a field of spec that does not exist", set_spec(immutable=True), "spec-fields")
    case("spec-field-case", a, "names of fields are case-sensitive", set_spec(Scope="strict"), "spec-fields")
    for label, scope in (("empty", ""), ("null", None), ("upper", "Strict"), ("space", "strict "), ("unknown", "namespace"),
                         ("number", 1), ("list", ["strict"])):
        case(f"scope-{label}", a, "scope is one of three lower-case words, or absent", set_spec(scope=scope), "scope-word")

    def envelopes65():
        o = Object(a)
        o.envelopes.update((some_id(), None) for _ in range(64))
        return o
    case("envelopes-65", a, "65 envelopes, 64 of them unreferenced", envelopes65, "envelope-count")
    for label in bad_ids(""):
        case(f"envelope-id-{label}", a, "the id even of an unreferenced envelope follows the grammar",
             lambda label=label: (lambda o: (o.envelopes.update({bad_ids(some_id())[label]: None}), o)[1])(Object(a)), "envelope-id")
    for label, item in (("empty", ""), ("dot", "."), ("dots", ".."), ("dots-more", "..a"), ("slash", "a/b"), ("254", "k" * 254),
                        ("newline", "a\n"), ("unicode", "é")):
        case(f"item-key-{label}", a, "an item key outside the grammar", lambda item=item: Object(a, values={item: b"x"}), "key-name")

    def value(function, size=4, raw=None):
        def make():
            o = Object(a, values={"USER": bytes(size)})
            if raw:
                o.value("USER", bytes(size), raw=raw)
            o.values["USER"] = function(o.values["USER"])
            return o
        return make
    case("value-version", a, "the prefix is sk1", value(lambda v: "sk2" + v[3:]), "value-grammar")
    case("value-newline", a, "no line end after a value", value(lambda v: v + "\n"), "value-grammar")
    case("value-padded", a, "no = in a value", value(lambda v: v + "="), "value-grammar")
    case("value-plus", a, "no + in a value", value(lambda v: v[:40] + "+" + v[41:]), "value-grammar")
    case("value-empty", a, "nothing after the id", value(lambda v: v[:37]), "value-grammar")
    case("value-extra-part", a, "a fourth part", value(lambda v: v + ".AAAA"), "value-grammar")
    for label in bad_ids(""):
        case(f"value-id-{label}", a, "the id in a value follows the grammar",
             value(lambda v, label=label: v[:4] + bad_ids(v[4:36])[label] + v[36:]), "value-grammar")
    case("id-hex", a, "an id of 16 hex digits, wherever it stands: of value and envelope, the value is named first",
         lambda: Object(a, id="4be1c07d92aa6f03", fields=lambda e: {**e, "id": "4be1c07d92aa6f03"}), "value-grammar")
    url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    case("value-trailing-bits", a, "unused trailing bits are zero", value(lambda v: next_char(v, url)), "value-base64")
    case("value-base64-length", a, "base64 of a length that is 1 modulo 4", value(lambda v: v + "AA"), "value-base64")
    case("value-cut", a, "one byte short of a bucket", value(lambda v: v, raw=lambda r: r[:-1]), "value-size")
    case("value-between", a, "1,025 bytes are no bucket", value(lambda v: v, 1000, raw=lambda r: r + b"\0"), "value-size")
    case("value-short", a, "32 bytes are no bucket", value(lambda v: v, raw=lambda r: r[:72]), "value-size")
    case("value-tiny", a, "too short to have a nonce and a tag", value(lambda v: v[:37] + "AAAA"), "value-size")
    case("dangling-id", a, "a value names an envelope that is missing", value(lambda v: f"sk1.{some_id()}" + v[36:]), "dangling-id")

    def entry(function):
        return lambda: Object(a, entry=function)
    for label, why, function in (
            ("unknown", "a third field", lambda e: {**e, "comment": "x"}),
            ("no-hints", "recipients is missing", lambda e: {"ageFile": e["ageFile"]}),
            ("no-age-file", "ageFile is missing", lambda e: {"recipients": e["recipients"]}),
            ("null", "a referenced entry is null", lambda e: None),
            ("hints-string", "recipients is a string", lambda e: {**e, "recipients": e["recipients"][0]}),
            ("hints-null", "recipients is null", lambda e: {**e, "recipients": None}),
            ("hint-number", "a hint is a number", lambda e: {**e, "recipients": [Raw("1" * 32)]}),
            ("age-file-null", "ageFile is null", lambda e: {**e, "ageFile": None}),
            ("sealed-key", "sealedKey instead of ageFile", lambda e: {"recipients": e["recipients"], "sealedKey": e["ageFile"]}),
            ("age-file-case", "names of fields are case-sensitive", lambda e: {"recipients": e["recipients"], "agefile": e["ageFile"]})):
        case(f"entry-{label}", a, why, entry(function), "envelope-entry")

    case("hints-none", a, "no hint", lambda: Object(a, hints=lambda h: []), "recipient-count")
    case("hints-33", a, "33 hints", lambda: Object(a, hints=lambda h: h + [f"{i:032x}" for i in range(32)]), "recipient-count")
    case("recipients-33", a, "33 recipients", lambda: Object(a, *[f"many{i}-x" for i in range(32)]), "recipient-count")
    case("stanzas-grease-only", a, "no accepted stanza", lambda: Object(a, stanzas=lambda s, _: [grease()]), "recipient-count")
    for label, change in (("upper", lambda h: h.upper()), ("31", lambda h: h[:31]), ("33", lambda h: h + "0"),
                          ("newline", lambda h: h + "\n"), ("short", lambda h: h[:16])):
        case(f"hint-{label}", "ring-x", "a hint has exactly 32 lower-case hex characters",
             lambda change=change: Object(a, "beta-x", hints=lambda h: [fp(a), change("ab" * 16)]), "hint-grammar")
    case("hints-duplicate", a, "two equal hints", lambda: Object(a, "beta-x", hints=lambda h: [fp(a)] * 2), "hints-duplicate")
    case("hints-fewer", a, "fewer hints than accepted stanzas", lambda: Object(a, "beta-x", hints=lambda h: [fp(a)]), "hints-count")
    case("hints-more", a, "more hints than accepted stanzas", lambda: Object(a, hints=lambda h: h + ["0" * 32]), "hints-count")
    case("hints-count-grease", a, "grease has no hint", lambda: Object(a, stanzas=lambda s, _: s + [grease()], hints=lambda h: h + ["0" * 32]), "hints-count")

    def find_age(pattern):
        """Pad the age file with grease until its base64 fits a pattern."""
        def make(change):
            for n in range(64):
                writer.random = Seeded(f"{pattern} {n}")
                o = Object(a, stanzas=lambda s, _: s + [grease(body=bytes(n % 7))])
                text = o.envelopes[o.last]["ageFile"]
                if re.search(pattern, text):
                    o.envelopes[o.last]["ageFile"] = change(text)
                    return o
            raise AssertionError(pattern)
        return lambda change: lambda: make(change)
    rule = "age-file-base64"
    case("age-file-space", a, "white space in ageFile", lambda: Object(a, text=lambda t: t[:40] + " " + t[40:]), rule)
    case("age-file-newline", a, "a line end after ageFile", lambda: Object(a, text=lambda t: t + "\n"), rule)
    case("age-file-url", a, "the URL-safe alphabet", find_age(r"[+/]")(lambda t: t.replace("+", "-").replace("/", "_")), rule)
    case("age-file-unpadded", a, "padding is missing", find_age("=")(lambda t: t.rstrip("=")), rule)
    case("age-file-padded", a, "padding too many", find_age("[^=]$")(lambda t: t + "="), rule)
    case("age-file-trailing-bits", a, "unused trailing bits are not zero", find_age("[^=]=$")(lambda t: next_char(t[:-1]) + "="), rule)

    rule = "age-header"
    case("age-empty", a, "ageFile is empty", lambda: Object(a, text=lambda t: ""), rule)

    def stanzas(function):
        return lambda: Object(a, stanzas=function)

    def header(function):
        """Change the header text, then make the MAC fit."""
        def age(data, file_key):
            old = reader.AgeFile(data)
            head = function(old.head)
            mac = reader.hmac.digest(reader.hkdf(file_key, b"", b"header"), head, "sha256")
            return head + b" " + writer.b64_bare(mac).encode() + b"\n" + old.rest
        return lambda: Object(a, age=age)
    armor = lambda d, _: (b"-----BEGIN AGE ENCRYPTED FILE-----\n" + b"".join(  # noqa: E731
        base64.b64encode(d)[i:i + 64] + b"\n" for i in range(0, len(base64.b64encode(d)), 64)) + b"-----END AGE ENCRYPTED FILE-----\n")
    case("age-armor", a, "an armored age file", lambda: Object(a, age=armor), rule)
    case("age-version", a, "another version line", header(lambda h: h.replace(b"/v1", b"/v2", 1)), rule)
    case("age-crlf", a, "line ends are LF only", header(lambda h: h.replace(b"\n", b"\r\n")), rule)
    case("age-leading", a, "a line before the header", header(lambda h: b"\n" + h), rule)
    case("age-no-stanza", a, "no stanza at all", stanzas(lambda s, _: []), rule)
    case("age-double-space", a, "two spaces between arguments", stanzas(lambda s, _: [s[0].replace("X25519 ", "X25519  ")]), rule)
    case("age-trailing-space", a, "a space at the end of a stanza line", stanzas(lambda s, _: [s[0].replace("\n", " \n", 1)]), rule)
    case("age-tab", a, "a tab between arguments", stanzas(lambda s, _: [s[0].replace("X25519 ", "X25519\t")]), rule)
    case("age-no-type", a, "a stanza line without type", stanzas(lambda s, _: s + ["->\n\n"]), rule)
    case("age-high-byte", a, "an argument outside ASCII", stanzas(lambda s, _: s + [grease(args=("é",))]), rule)
    case("age-body-long-line", a, "a body line of 65 characters", stanzas(lambda s, _: s + ["-> x-grease\n" + "A" * 65 + "\n\n"]), rule)
    case("age-body-short-wrap", a, "a body wrapped before column 64", stanzas(
        lambda s, _: s + ["-> x-grease\n" + "A" * 40 + "\n" + "A" * 40 + "\n"]), rule)
    case("age-body-no-short-line", a, "a body of whole lines without its empty last line", stanzas(
        lambda s, _: ["-> x-grease\n" + "A" * 64 + "\n"] + s), rule)
    case("age-body-none", a, "a stanza without any body line", stanzas(lambda s, _: ["-> x-grease\n"] + s), rule)
    case("age-body-padded", a, "a body with padding", stanzas(lambda s, _: [s[0].rstrip("\n") + "=\n"]), rule)
    case("age-body-trailing-bits", a, "unused trailing bits of a body are not zero", stanzas(
        lambda s, _: [next_char(s[0].rstrip("\n")) + "\n"]), rule)
    case("age-body-url", a, "the URL-safe alphabet in a body", stanzas(lambda s, _: s + ["-> x-grease\n-_-_\n"]), rule)

    def mac_line(function):
        def age(data, _):
            old = reader.AgeFile(data)
            mac = writer.b64_bare(old.mac)
            return old.head + function(mac).encode() + old.rest
        return lambda: Object(a, age=age)
    case("age-mac-trailing-bits", a, "unused trailing bits of the MAC are not zero", mac_line(lambda m: f" {next_char(m)}\n"), rule)
    case("age-mac-padded", a, "a MAC with padding", mac_line(lambda m: f" {m}=\n"), rule)
    case("age-mac-short", a, "a MAC of 31 bytes", mac_line(lambda m: f" {m[:41]}A\n"), rule)
    case("age-mac-spaces", a, "two spaces before the MAC", mac_line(lambda m: f"  {m}\n"), rule)
    case("age-mac-crlf", a, "CRLF after the MAC", mac_line(lambda m: f" {m}\r\n"), rule)
    case("age-mac-missing", a, "no MAC", mac_line(lambda m: "\n"), rule)
    case("age-cut", a, "the header has no end", lambda: Object(a, age=lambda d, _: d[:60]), rule)

    rule = "age-file-size"
    case("header-131073", a, "a header of 131,073 bytes", lambda: sized_header(131073), rule)
    case("rest-2049", a, "2,049 bytes after the header", lambda: Object(a, age=lambda d, _: d + bytes(2049 - len(reader.AgeFile(d).rest))), rule)
    case("rest-2049-sealed", a, "2,049 bytes after the header, of which every one belongs to the payload",
         lambda: Object(a, plain=lambda t: t + b" " * (2017 - len(t))), rule)
    case("stanzas-65", a, "65 stanzas", stanzas(lambda s, _: s + [grease(body=b"")] * 64), "stanza-count")

    rule = "stanza-unknown"
    for label, text in (
            ("scrypt", grease("scrypt", ("c2FsdHNhbHRzYWx0c2FsdA", "10"), bytes(32))),
            ("ssh", grease("ssh-ed25519", ("mhir0Q", writer.b64_bare(bytes(32))), bytes(32))),
            ("plugin", grease("piv-p256", ("wVgBlg", "A" * 44), bytes(32))),
            ("p256tag", grease("p256tag", (writer.b64_bare(bytes(4)), writer.b64_bare(bytes(65))), bytes(32))),
            ("mlkem768p256tag", grease("mlkem768p256tag", (writer.b64_bare(bytes(4)), writer.b64_bare(bytes(1153))), bytes(32))),
            ("lower-case", grease("x25519", (writer.b64_bare(bytes(32)),), bytes(32))),
            ("upper-case", grease("MLKEM768X25519", (writer.b64_bare(bytes(1120)),), bytes(32))),
            ("grease-word", grease("grease")), ("grease-inside", grease("-grease-1")),
            ("grease-case", grease("x-GREASE"))):
        case(f"stanza-{label}", a, "a stanza that is neither accepted nor grease, beside one that would open",
             stanzas(lambda s, _, text=text: s + [text]), rule)

    rule = "stanza-shape"
    for kind in ("x", "pq"):
        me, size = f"alpha-{kind}", 32 if kind == "x" else 1120

        def piece(function, me=me):
            return lambda: Object(me, stanzas=with_pieces(0, function))
        text, raw = writer.stanza_text, reader.b64_bare
        for label, why, function in (
                ("no-argument", "no argument", lambda k, s, b: text(k, [], b)),
                ("two-arguments", "a second argument", lambda k, s, b: text(k, [s, "x"], b)),
                ("share-short", "an argument one byte short", lambda k, s, b: text(k, [writer.b64_bare(raw(s)[:-1])], b)),
                ("share-long", "an argument one byte long", lambda k, s, b: text(k, [writer.b64_bare(raw(s) + b"\0")], b)),
                ("share-trailing-bits", "an argument with unused trailing bits", lambda k, s, b: text(k, [next_char(s)], b)),
                ("share-padded", "an argument with padding", lambda k, s, b: text(k, [s + "=" * (-len(s) % 4)], b)),
                ("share-not-base64", "an argument that is not base64", lambda k, s, b: text(k, ["!" + s[1:]], b)),
                ("body-empty", "an empty body", lambda k, s, b: text(k, [s], b"")),
                ("body-31", "a body of 31 bytes", lambda k, s, b: text(k, [s], b[:31])),
                ("body-33", "a body of 33 bytes", lambda k, s, b: text(k, [s], b + b"\0")),
                ("body-48", "a body of 48 bytes", lambda k, s, b: text(k, [s], b + bytes(16)))):
            case(f"stanza-{kind}-{label}", me, f"{'X25519' if kind == 'x' else 'mlkem768x25519'}: {why}", piece(function), rule)
    mine, other = order(a, "beta-x").index(a), order(a, "beta-x").index("beta-x")
    case("stanza-shape-other", a, "a stanza for somebody else has its exact shape too", lambda: Object(
        a, "beta-x", stanzas=with_pieces(other, lambda k, s, b: writer.stanza_text(k, [s], b + b"\0"))), rule)
    assert mine != other

    def mixed():
        def both(s, k):
            return [writer.stanza(*one.wrap(k)) for one in sorted((key(a), key("alpha-pq")), key=lambda o: o.fingerprint)]
        return Object(a, stanzas=both, hints=lambda h: order_fps(a, "alpha-pq"),
                      fields=lambda e: {**e, "to": order_fps(a, "alpha-pq")})
    case("stanza-mixed", "ring-both", "both accepted types in one envelope", mixed, "stanza-mixed")


def bad_keys():
    a = "alpha-x"
    rule = "no-hint-names-a-held-key"
    case("other-cluster", "stranger-pq", "no hint names a held key", lambda: Object("alpha-pq", "beta-pq"), rule)
    case("other-type", "alpha-pq", "a held key of another type that no hint names", lambda: Object(a), rule)
    case("hint-hides-stanza", a, "only a key that a hint names is tried, though a stanza would open",
         lambda: Object(a, hints=lambda h: ["0" * 32]), rule)

    def second(*to, **options):
        """Two envelopes in the order of their ids; the second with the options."""
        o = Object()
        first, last = ascending_keys(2)
        o.envelope(a, data_key=first)
        o.value("A", b"a")
        o.envelope(*to, data_key=last, **options)
        o.value("B", b"b")
        return o
    case("one-of-two", a, "one envelope of two has no hint that names a held key: all or nothing", lambda: second("beta-x"), rule)

    def keys_before_open():
        o = second("beta-x")
        first = min(o.envelopes)
        data = flip(base64.b64decode(o.envelopes[first]["ageFile"]), -1)
        o.envelopes[first]["ageFile"] = base64.b64encode(data).decode()
        return o
    case("keys-before-envelopes", a, "an earlier envelope is damaged, a later one has no held key: keys come first",
         keys_before_open, rule)

    rule = "stanza-does-not-open"
    for kind in ("x", "pq"):
        me = f"alpha-{kind}"
        for label, function in (
                ("share", lambda k, s, b: writer.stanza(k, flip(reader.b64_bare(s), 0), b)),
                ("body", lambda k, s, b: writer.stanza_text(k, [s], flip(b, 31)))):
            case(f"damaged-{kind}-{label}", me, f"one bit of the stanza's {label} flipped",
                 lambda me=me, function=function: Object(me, stanzas=with_pieces(0, function)), rule)
    case("damaged-pq-share-classic-part", "alpha-pq", "one bit of the X25519 part flipped", lambda: Object(
        "alpha-pq", stanzas=with_pieces(0, lambda k, s, b: writer.stanza(k, flip(reader.b64_bare(s), 1090), b))), rule)
    for label, share in (("zero", bytes(32)), ("one", b"\1" + bytes(31)), ("order-8", LOW_ORDER)):
        case(f"low-order-x-{label}", a, "the X25519 result is all zero; the body fits that result",
             lambda share=share: Object(a, stanzas=lambda s, k: [low_order_classic(a, share, k)]), rule)
        case(f"low-order-pq-{label}", "alpha-pq", "the X25519 result is all zero; the body fits that result",
             lambda share=share: Object("alpha-pq", stanzas=lambda s, k: [hybrid_stanza("alpha-pq", k, share, bytes(32))]), rule)
    case("hints-swapped", a, "a key is tried at the place of its hint only",
         lambda: Object(a, "beta-x", hints=lambda h: h[::-1]), rule)
    case("hint-lies", a, "a hint names a held key for the stanza of another key",
         lambda: Object("stranger-x", hints=lambda h: [fp(a)]), rule)
    case("hint-of-other-type", "ring-both", "the only hint names a held key of the other type, though a held key would open",
         lambda: Object(a, hints=lambda h: [fp("alpha-pq")]), rule)

    rule = "age-mac"
    case("mac-bit", a, "one bit of the header MAC flipped", lambda: Object(
        a, age=lambda d, _: (lambda f: f.head + b" " + writer.b64_bare(flip(f.mac, 0)).encode() + b"\n" + f.rest)(reader.AgeFile(d))), rule)
    case("mac-grease-added", a, "a stanza added after sealing", lambda: Object(
        a, age=lambda d, _: d.replace(b"\n---", b"\n" + grease().encode() + b"---", 1)), rule)
    case("mac-stanza-removed", a, "a recipient removed after sealing", lambda: Object(
        a, "beta-x", age=lambda d, _: (lambda s: d.replace(s.encode(), b"", 1))(
            writer.stanza("X25519", *reader.AgeFile(d).accepted[order(a, "beta-x").index("beta-x")])),
        hints=lambda h: [fp(a)]), rule)
    first, other = order(a, "beta-x")
    case("two-file-keys-second", other, "this stanza wraps another file key than the one that made the MAC",
         lambda: Object(a, "beta-x", stanzas=lambda s, _: [s[0], writer.stanza(*key(other).wrap(bytes(16)))]), rule)
    case("two-file-keys-search-ends", "ring-x", "an unwrapped file key ends the search, though the next stanza has the right one",
         lambda: Object(a, "beta-x", stanzas=lambda s, _: [writer.stanza(*key(first).wrap(bytes(16))), s[1]]), rule)

    rule = "age-payload"
    case("payload-bit", a, "one bit of the payload flipped", lambda: Object(a, age=lambda d, _: flip(d, -1)), rule)
    case("payload-nonce", a, "one bit of the payload nonce flipped", lambda: Object(
        a, age=lambda d, _: flip(d, -len(reader.AgeFile(d).rest))), rule)
    case("payload-none", a, "nothing after the header", lambda: Object(a, age=lambda d, _: d[:-len(reader.AgeFile(d).rest)]), rule)
    case("payload-31", a, "31 bytes after the header", lambda: Object(
        a, age=lambda d, _: (lambda n: d[:len(d) - n + 31])(len(reader.AgeFile(d).rest))), rule)
    case("payload-extended", a, "a byte after the payload", lambda: Object(a, age=lambda d, _: d + b"\0"), rule)

    def chunks(function):
        def age(data, file_key):
            rest = reader.AgeFile(data).rest
            k = reader.hkdf(file_key, rest[:16], b"payload")
            plain = reader.chacha_open(k, bytes(11) + b"\1", rest[16:])
            return data[:-len(rest) + 16] + function(k, plain)
        return lambda: Object(a, age=age)
    seal = writer.chacha_seal
    case("payload-not-last", a, "the only chunk is not marked as the last", chunks(lambda k, p: seal(k, bytes(12), p)), rule)
    case("payload-two-chunks", a, "a second, empty chunk", chunks(
        lambda k, p: seal(k, bytes(12), p) + seal(k, bytes(10) + b"\1\1", b"")), rule)


def bad_envelopes():
    a = "alpha-x"

    def fields(**new):
        return lambda: Object(a, fields=lambda e: {**e, **new})

    def plain(old, new):
        def change(text):
            assert old in text
            return text.replace(old, new, 1)
        return lambda: Object(a, plain=change)
    rule = "envelope-fields"
    for name in reader.FIELDS:
        case(f"plain-no-{name}", a, f"{name} is missing", lambda name=name: Object(
            a, fields=lambda e: {k: v for k, v in e.items() if k != name}), rule)
    case("plain-ninth", a, "a ninth field", fields(more=1), rule)
    case("plain-empty", a, "an empty plaintext", lambda: Object(a, plain=lambda t: b""), rule)
    case("plain-not-json", a, "a plaintext that is not JSON", lambda: Object(a, plain=lambda t: t[:-1]), rule)
    case("plain-list", a, "a plaintext that is a list", lambda: Object(a, plain=lambda t: b"[" + t + b"]"), rule)
    case("plain-render-string", a, "render is a string", fields(render="false"), rule)
    case("plain-render-null", a, "render is null", fields(render=None), rule)
    case("rest-2048", a, "2,048 bytes after the header pass the public checks, but no valid plaintext is that long",
         lambda: Object(a, plain=lambda t: t + b" " * (2016 - len(t))), "envelope-canonical")
    rule = "envelope-version"
    for label, v in (("2", 2), ("string", "1"), ("true", True), ("float", 1.5)):
        case(f"plain-v-{label}", a, "v is the number 1", fields(v=v), rule)
    rule = "envelope-grammar"
    for label in bad_ids(""):
        case(f"plain-id-{label}", a, "the id in an envelope follows the grammar", lambda label=label: Object(
            a, fields=lambda e: {**e, "id": bad_ids(e["id"])[label]}), rule)
    case("plain-id-null", a, "id is null", fields(id=None), rule)
    case("plain-scope-word", a, "scope is none of the three words", fields(scope="Strict"), rule)
    case("plain-scope-null", a, "scope is null", fields(scope=None), rule)
    case("plain-namespace-empty", a, "a bound namespace is empty", fields(namespace=""), rule)
    case("plain-namespace-upper", a, "a bound namespace is no DNS label", fields(namespace="Shop"), rule)
    case("plain-namespace-number", a, "namespace is a number", fields(namespace=1), rule)
    case("plain-name-empty", a, "a bound name is empty", fields(name=""), rule)
    case("plain-name-slash", a, "a bound name is no DNS subdomain", fields(name="a/b"), rule)
    case("plain-name-not-bound", a, "a name that the scope does not bind", lambda: Object(
        a, scope="namespace-wide", fields=lambda e: {**e, "name": "db"}), rule)
    case("plain-namespace-not-bound", a, "a namespace that the scope does not bind", lambda: Object(
        a, scope="cluster-wide", fields=lambda e: {**e, "namespace": "shop"}), rule)
    rule = "envelope-to"
    case("plain-to-unsorted", a, "`to` is not sorted", lambda: Object(a, "beta-x", fields=lambda e: {**e, "to": e["to"][::-1]}), rule)
    case("plain-to-twice", a, "equal fingerprints in `to`", fields(to=[fp(a)] * 2), rule)
    case("plain-to-none", a, "`to` is empty", fields(to=[]), rule)
    case("plain-to-33", a, "33 fingerprints in `to`", fields(to=[f"{i:032x}" for i in range(33)]), rule)
    case("plain-to-short", a, "a fingerprint of 31 characters", fields(to=[fp(a)[:31]]), rule)
    case("plain-to-upper", a, "a fingerprint in upper case", fields(to=["AB" * 16]), rule)
    case("plain-to-string", a, "`to` is a string", fields(to=fp(a)), rule)
    rule = "envelope-key"
    b64 = lambda n: base64.b64encode(b"\x5a" * n).decode()  # noqa: E731
    for label, text in (("31", b64(31)), ("33", b64(33)), ("16", b64(16)), ("unpadded", b64(32)[:-1]),
                        ("trailing-bits", next_char(b64(32)[:-1]) + "="), ("number", 7)):
        case(f"plain-key-{label}", a, "key is canonical base64 of 32 bytes", fields(key=text), rule)
    rule = "envelope-canonical"
    case("plain-space", a, "a space", plain(b',"id"', b', "id"'), rule)
    case("plain-newline", a, "a trailing newline", lambda: Object(a, plain=lambda t: t + b"\n"), rule)
    case("plain-escape", a, "an escape sequence", plain(b'"shop"', b'"\\u0073hop"'), rule)
    case("plain-order", a, "another order of fields", lambda: Object(a, fields=lambda e: dict(sorted(e.items()))), rule)
    case("plain-field-twice", a, "a field twice, with the same content", plain(b'"v":1,', b'"v":1,"v":1,'), rule)

    rule = "envelope-commitment"

    def claimed(to=a, id=None, plain=None, **more):
        """An envelope that has one id inside and outside, which is not that of its data key."""
        id = id or some_id()
        return Object(to, id=id, plain=plain, fields=lambda e: {**e, "id": id, **more})
    case("commitment-key", a, "object, envelope and values agree on an id that is not the data key's", claimed, rule)
    case("commitment-key-hybrid", "alpha-pq", "the same under a hybrid key", lambda: claimed("alpha-pq"), rule)
    for was in (False, True):
        case(f"commitment-render-{str(not was).lower()}", a, f"a data key sealed with `render` {str(was).lower()}, wrapped anew with the opposite",
             lambda was=was: Object(a, render=was, fields=lambda e: {**e, "render": not was}), rule)
    case("commitment-other-key", a, "another data key in an envelope that is otherwise as it was",
         lambda: Object(a, fields=lambda e: {**e, "key": b64(32)}), rule)
    case("commitment-before-id", a, "the envelope stands under its key's id and has another one inside: the commitment comes before the comparison",
         lambda: Object(a, fields=lambda e: {**e, "id": some_id()}), rule)
    case("commitment-three-ids", a, "the object has one id, the envelope another, its key a third",
         lambda: Object(a, id=some_id(), fields=lambda e: {**e, "id": some_id()}), rule)
    case("commitment-before-context", a, "an id that is not the data key's, and an envelope for another object",
         lambda: claimed(name="other"), rule)
    case("commitment-number-id", a, "an id that YAML would read as a number: the grammar has it, and nobody finds a data key for it",
         lambda: claimed(id="2" * 32), rule)
    case("canonical-before-commitment", a, "a space, and an id that is not the data key's",
         lambda: claimed(plain=lambda t: t + b" "), "envelope-canonical")

    def equivocal(number):
        """The object of one of two data keys that open one value text."""
        o = Object()
        keys, raw, values = equivocation.equivocate(Seeded("equivocation"), o.bound(), "TOKEN", b"what the reviewers were shown")
        id = reader.envelope_id(keys[0], False)
        o.envelope(a, id=id, data_key=keys[number], fields=lambda e: {**e, "id": id})
        o.values["TOKEN"], o.plain["TOKEN"] = writer.value_text(id, raw), values[number]
        return o
    case("equivocation-one", a, "a value text that two data keys open, under the one whose id it has", lambda: equivocal(0))
    case("equivocation-two", a, "the same text under the other data key: another value, if nobody looked at the id", lambda: equivocal(1), rule)

    rule = "context-id"
    case("envelope-other-id", a, "a sound envelope under another id, with values sealed for that id", lambda: Object(a, id=some_id()), rule)

    def moved(scope="strict", to_scope=None, namespace="shop", name="db"):
        def make():
            o = Object(a, scope=scope)
            o.metadata = {"name": name, "namespace": namespace}
            o.spec["scope"] = to_scope or scope
            return o
        return make
    case("scope-widened", a, "strict envelope in a namespace-wide object", moved(to_scope="namespace-wide"), "context-scope")
    case("scope-narrowed", a, "cluster-wide envelope in a strict object", moved("cluster-wide", "strict"), "context-scope")
    case("moved-namespace", a, "strict binds the namespace", moved(namespace="other"), "context-namespace")
    case("moved-namespace-wide", a, "namespace-wide binds the namespace", moved("namespace-wide", namespace="other", name="x"), "context-namespace")
    case("moved-name", a, "strict binds the name", moved(name="other"), "context-name")
    case("moved-hybrid", "alpha-pq", "strict binds the name", lambda: (
        lambda o: (o.metadata.update(name="other"), o)[1])(Object("alpha-pq")), "context-name")
    case("grammar-before-context", a, "the plaintext is malformed and for another object: malformed comes first",
         lambda: Object(a, fields=lambda e: {**e, "name": "other", "v": 2}), "envelope-version")

    def two(first, second):
        o = Object()
        keys = ascending_keys(2)
        o.envelope(a, data_key=keys[0], **first)
        o.value("A", b"a")
        o.envelope(a, data_key=keys[1], **second)
        o.value("B", b"b")
        return o
    bad = {"fields": lambda e: {**e, "v": 2}}
    foreign = {"fields": lambda e: {**e, "name": "other"}}
    case("first-envelope-decides", a, "the envelope with the lower id is malformed, the other one foreign", lambda: two(bad, foreign), "envelope-version")
    case("first-envelope-decides-too", a, "the envelope with the lower id is foreign, the other one malformed", lambda: two(foreign, bad), "context-name")

    swapped = {"fields": lambda e: {**e, "key": b64(32)}}
    case("first-envelope-decides-commitment", a, "the envelope with the lower id is foreign, the other one has another key", lambda: two(foreign, swapped), "context-name")
    case("commitment-before-next-envelope", a, "the envelope with the lower id has another key, the other one is foreign", lambda: two(swapped, foreign), "envelope-commitment")

    def values_last():
        o = two({}, foreign)
        o.value("A", b"a", id=min(o.envelopes), raw=lambda r: flip(r, -1))
        return o
    case("envelopes-before-values", a, "a value of the first envelope is damaged, the second envelope foreign: envelopes come first",
         values_last, "context-name")
    case("public-before-keys", "stranger-x", "no held key, and a value that is no bucket: public checks come first", lambda: (
        lambda o: (o.value("USER", raw=lambda r: r[:-1]), o)[1])(Object(a)), "value-size")


def bad_values():
    a, rule = "alpha-x", "value-aead"

    def value(item="USER", content=b"shop", **options):
        def make():
            o = Object(a)
            o.value(item, content, **options)
            return o
        return make
    case("value-bit-nonce", a, "one bit of the nonce flipped", value(raw=lambda r: flip(r, 0)), rule)
    case("value-bit-text", a, "one bit of the ciphertext flipped", value(raw=lambda r: flip(r, 30)), rule)
    case("value-bit-tag", a, "one bit of the tag flipped", value(raw=lambda r: flip(r, -1)), rule)
    case("value-cut-to-bucket", a, "cut to a smaller bucket", value(content=bytes(100), raw=lambda r: r[:104]), rule)
    case("value-extended", a, "extended to a larger bucket", value(raw=lambda r: r + bytes(64)), rule)
    for part, other in (("item", "PASSWORD"), ("scope", "namespace-wide"), ("namespace", "other"), ("name", "other"),
                        ("envelope_id", reader.envelope_id(bytes(32), False))):
        case(f"value-other-{part.split('_')[0]}", a, f"sealed for another {part.replace('_', ' ')}, under this data key",
             value(aad={part: other}), rule)
    case("value-unbound-name", a, "a namespace-wide value that was sealed with the object's name", lambda: (
        lambda o: (o.value("USER", aad={"name": "db"}), o)[1])(Object(a, scope="namespace-wide")), rule)

    def swapped():
        o = Object(a)
        o.values["USER"], o.values["PASSWORD"] = o.values["PASSWORD"], o.values["USER"]
        return o
    case("value-swapped", a, "two values have changed places", swapped, rule)

    def one_bad():
        o = several_values()
        o.values["C"] = o.values["B"]
        return o

    def several_values():
        return Object(a, values={k: k.encode() for k in "ABC"})
    case("value-one-of-three", a, "one value of three is wrong: all or nothing", one_bad, rule)

    def other_envelope():
        o = Object(a)
        o.envelope(a)
        o.values["USER"] = "sk1." + o.last + o.values["USER"][36:]
        return o
    case("value-other-key", a, "a value that names another envelope than its own", other_envelope, rule)

    def length(n, size):
        return struct.pack(">I", n) + bytes(size - 4)
    case("length-61", a, "the inner length is one more than is there", value(plain=length(61, 64)), "value-length")
    case("length-huge", a, "the inner length is 2^32 - 1, which must not overflow", value(plain=length(2**32 - 1, 64)), "value-length")
    case("bucket-larger", a, "a larger bucket than needed", value(plain=length(4, 128)), "value-bucket")
    case("bucket-larger-pad", a, "a larger bucket than needed, beyond 1024", value(plain=length(1021, 1152)), "value-bucket")
    case("padding-last", a, "the last padding byte is not zero", value(plain=flip(length(4, 64), 63)), "value-padding")
    case("padding-first", a, "the first padding byte is not zero", value(plain=flip(length(4, 64), 8)), "value-padding")


# --- files -------------------------------------------------------------------------------------------


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "vectors")
    load_codes()
    good()
    case("object-size-limit", "alpha-x",
         "1,200,000 bytes of compact JSON, without status and managedFields and with the shortest escapes",
         lambda: sized_object(1_200_000, True))
    bad_public()
    bad_keys()
    bad_envelopes()
    bad_values()
    missing = set(CODES) - {entry["rule"] for entry, _ in CASES}
    if missing:
        sys.exit(f"no case for {', '.join(sorted(missing))}")

    os.makedirs(out, exist_ok=True)
    for name in os.listdir(out):
        if name.endswith(".yaml"):
            os.remove(os.path.join(out, name))
    shutil.rmtree(os.path.join(out, "keys"), ignore_errors=True)
    os.makedirs(os.path.join(out, "keys"))

    def write(name, text):
        with open(os.path.join(out, name), "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    for name, members in FILES.items():
        note = "# test key, never use\n"
        write(f"keys/{name}.key", note + "".join(
            f"# public key: {key(m).text}\n{SECRETS[m]}\n" for m in members))
        write(f"keys/{name}.pub", note + "".join(key(m).text + "\n" for m in members))
    for entry, text in CASES:
        notes = [f"# case: {entry['case']}", f"# identity: {entry['identity']}",
                 f"# expect: {entry['expect']}" + (f" ({entry['rule']})" if entry["rule"] else "")
                 + (f", {entry['warn']}" if entry["warn"] else ""), f"# why: {entry['why']}"]
        write(entry["file"], "\n".join(notes) + "\n" + text)
    write("index.json", json.dumps([entry for entry, _ in CASES], ensure_ascii=False, indent=1) + "\n")
    print(f"{len(CASES)} cases")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A second, independent reader of the sealed format.

Written from docs/design/format.md and the public standards it names, and from
nothing else; section numbers in the comments are those of that document. It is
a test instrument: clear rather than fast, and it erases nothing from memory.

    reader.py --identity FILE object.yaml     open one object, print JSON
    reader.py --index DIR/index.json          run the cases of a vector directory
                                              (--rules: compare rule ids too)
"""
import argparse
import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import struct
import sys

import yaml
from kyber_py.ml_kem import ML_KEM_768
from nacl import bindings as sodium
from nacl.exceptions import CryptoError


class Refused(Exception):
    def __init__(self, code, rule, why=""):
        super().__init__(f"{code} {rule} {why}".rstrip())
        self.code, self.rule, self.why = code, rule, why


def invalid(rule, why=""):
    return Refused("InvalidSpec", rule, why)


def failed(rule, why=""):
    return Refused("DecryptFailed", rule, why)


# --- base64, exactly one spelling for each byte string ---------------------------------------

B64 = re.compile(r"[A-Za-z0-9+/]*")
B64URL = re.compile(r"[A-Za-z0-9_-]*")


def b64_padded(text):
    """Canonical padded standard base64, or None."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def b64_bare(text, url=False):
    """Canonical unpadded base64, or None."""
    if not (B64URL if url else B64).fullmatch(text) or len(text) % 4 == 1:
        return None
    padded = text + "=" * (-len(text) % 4)
    raw = base64.b64decode(padded, altchars=b"-_" if url else None)
    again = base64.b64encode(raw, altchars=b"-_" if url else None).decode().rstrip("=")
    return raw if again == text else None


# --- Bech32 (BIP-173 without its limit of 90 characters) -------------------------------------

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def _polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, gen in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> i & 1:
                check ^= gen
    return check


def _expand(prefix):
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def bech32_encode(prefix, data):
    bits = int.from_bytes(data, "big")
    pad = -len(data) * 8 % 5
    bits <<= pad
    count = (len(data) * 8 + pad) // 5
    groups = [bits >> 5 * (count - 1 - i) & 31 for i in range(count)]
    check = _polymod(_expand(prefix) + groups + [0] * 6) ^ 1
    groups += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(CHARSET[g] for g in groups)


def bech32_decode(text):
    """Lower-case Bech32 to (prefix, bytes); ValueError otherwise."""
    prefix, separator, rest = text.rpartition("1")
    if not separator or not prefix or len(rest) < 6 or any(c not in CHARSET for c in rest):
        raise ValueError("not Bech32")
    if any(not 33 <= ord(c) <= 126 for c in prefix):
        raise ValueError("not Bech32")
    groups = [CHARSET.index(c) for c in rest]
    if _polymod(_expand(prefix) + groups) != 1:
        raise ValueError("wrong checksum")
    groups = groups[:-6]
    spare = len(groups) * 5 % 8
    bits = 0
    for group in groups:
        bits = bits << 5 | group
    if spare >= 5 or bits & ((1 << spare) - 1):
        raise ValueError("unused bits are not zero")
    return prefix, (bits >> spare).to_bytes(len(groups) * 5 // 8, "big")


# --- primitives -----------------------------------------------------------------------------

P25519 = 2**255 - 19
BASE = (9).to_bytes(32, "little")


def x25519(scalar, point):
    """X25519, or None where the result is all zero."""
    try:
        out = sodium.crypto_scalarmult(scalar, point)
    except (CryptoError, RuntimeError):  # libsodium refuses all-zero results itself
        return None
    return out if any(out) else None


def hkdf_extract(salt, ikm):
    return hmac.digest(salt, ikm, "sha256")


def hkdf_expand(prk, info, size):
    out, block, i = b"", b"", 1
    while len(out) < size:
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        out, i = out + block, i + 1
    return out[:size]


def hkdf(ikm, salt, info):
    return hkdf_expand(hkdf_extract(salt, ikm), info, 32)


def chacha_open(key, nonce, sealed, aad=b""):
    try:
        return sodium.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, aad, nonce, key)
    except (CryptoError, ValueError):
        return None


# --- keys (section 2) ------------------------------------------------------------------------

HYBRID, CLASSIC = "mlkem768x25519", "X25519"
HPKE_INFO = b"age-encryption.org/mlkem768x25519"


def fingerprint(recipient):
    return hashlib.sha256(recipient.encode()).hexdigest()[:32]


class Identity:
    def __init__(self, text):
        if text != text.upper():
            raise ValueError("an identity is all upper-case")
        prefix, secret = bech32_decode(text.lower())
        if len(secret) != 32:
            raise ValueError("an identity holds 32 bytes")
        if prefix == "age-secret-key-pq-":
            full = hashlib.shake_256(secret).digest(96)
            ek, self.dk = ML_KEM_768._keygen_internal(full[:32], full[32:64])
            self.type, self.scalar = HYBRID, full[64:]
            self.point = sodium.crypto_scalarmult_base(self.scalar)
            self.recipient = bech32_encode("age1pq", ek + self.point)
        elif prefix == "age-secret-key-":
            self.type, self.scalar = CLASSIC, secret
            self.point = sodium.crypto_scalarmult_base(self.scalar)
            self.recipient = bech32_encode("age", self.point)
        else:
            raise ValueError("not an identity of this format")
        self.fingerprint = fingerprint(self.recipient)

    def unwrap(self, share, body):
        """The file key from one stanza, or None."""
        if self.type == CLASSIC:
            z = x25519(self.scalar, share)
            if z is None:
                return None
            key = hkdf(z, share + self.point, b"age-encryption.org/v1/X25519")
            return chacha_open(key, bytes(12), body)
        ct_pq, ct_t = share[:1088], share[1088:]
        ss_pq = ML_KEM_768.decaps(self.dk, ct_pq)
        ss_t = x25519(self.scalar, ct_t)
        if ss_t is None:
            return None
        key, nonce = hpke_key(xwing(ss_pq, ss_t, ct_t, self.point))
        return chacha_open(key, nonce, body)


def xwing(ss_pq, ss_t, ct_t, ek_t):
    return hashlib.sha3_256(ss_pq + ss_t + ct_t + ek_t + bytes.fromhex("5c2e2f2f5e5c")).digest()


def hpke_key(shared):
    suite = b"HPKE" + bytes.fromhex("647a00010003")

    def le(salt, label, ikm):
        return hkdf_extract(salt, b"HPKE-v1" + suite + label + ikm)

    def lx(prk, label, info, n):
        return hkdf_expand(prk, struct.pack(">H", n) + b"HPKE-v1" + suite + label + info, n)

    context = b"\0" + le(b"", b"psk_id_hash", b"") + le(b"", b"info_hash", HPKE_INFO)
    secret = le(shared, b"secret", b"")
    return lx(secret, b"key", context, 32), lx(secret, b"base_nonce", context, 12)


def key_lines(text):
    """The lines of a recipient or identity file that count (2.4)."""
    lines = (line.strip(" \t\r") for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def read_identities(text):
    held = {}
    for line in key_lines(text):
        key = Identity(line)
        other = held.setdefault(key.fingerprint, key)
        if other.recipient != key.recipient:
            raise ValueError("two keys with one fingerprint")
    return held


# --- the object (section 3) ------------------------------------------------------------------


class Number(str):
    """A number, kept as its text; only its being no string and its length matter."""


NUMBER_12 = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
MAX_NODES = 1_300_000  # every node has at least one byte of compact JSON
TAG = "tag:yaml.org,2002:"


def _plain(text, tag):
    """A plain scalar: not a string if YAML 1.1 or YAML 1.2 reads it as something else."""
    if tag == TAG + "null" or text in ("", "~", "null", "Null", "NULL"):
        return None
    if tag == TAG + "bool" or text.lower() in ("true", "false"):
        return text.lower() in ("true", "yes", "on", "y")
    if tag in (TAG + "int", TAG + "float") or NUMBER_12.fullmatch(text):
        return Number(text)
    return text  # also timestamps, which JSON does not have


class _Builder:
    def __init__(self):
        self.nodes, self.path = 0, set()

    def build(self, node):
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise invalid("object-size", "too many nodes")
        if isinstance(node, yaml.ScalarNode):
            if node.style is None and node.tag != TAG + "str":
                return _plain(node.value, node.tag)
            if node.style is None:
                return _plain(node.value, "")
            if node.tag != TAG + "str":
                raise invalid("object-shape", "a tag")
            return node.value
        if id(node) in self.path:
            raise invalid("object-shape", "an alias into itself")
        self.path.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            out = [self.build(item) for item in node.value]
        else:
            out = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    raise invalid("object-shape", "a mapping key that is no scalar")
                if key_node.value in out:  # by text, whatever the type or quoting
                    raise invalid("object-shape", f"the key {key_node.value!r} twice")
                out[key_node.value] = self.build(value_node)
        self.path.discard(id(node))
        return out


def _json_pairs(pairs):
    out = dict(pairs)
    if len(out) != len(pairs):
        raise invalid("object-shape", "a key twice")
    return out


def load_object(text):
    """Text (JSON or YAML) to the JSON data model."""
    try:
        if text.lstrip().startswith("{"):
            try:
                return json.loads(
                    text, object_pairs_hook=_json_pairs, parse_int=Number, parse_float=Number,
                    parse_constant=Number)
            except ValueError:
                pass
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        if len(documents) != 1:
            raise invalid("object-shape", "not one document")
        return _Builder().build(documents[0])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise invalid("object-shape", f"not YAML: {error}") from None


def compact_size(value):
    """Bytes of compact JSON (section 4)."""
    if value is None:
        return 4
    if isinstance(value, bool):
        return 4 if value else 5
    if isinstance(value, Number):
        return len(value)
    if isinstance(value, str):
        return len(json.dumps(value, ensure_ascii=False).encode())
    if isinstance(value, list):
        return 2 + max(len(value) - 1, 0) + sum(map(compact_size, value))
    return 2 + max(len(value) - 1, 0) + sum(
        compact_size(k) + 1 + compact_size(v) for k, v in value.items())


def object_size(obj):
    counted = {k: v for k, v in obj.items() if k != "status"}
    if isinstance(counted.get("metadata"), dict):
        counted["metadata"] = {
            k: v for k, v in counted["metadata"].items() if k != "managedFields"}
    return compact_size(counted)


SCOPES = ("strict", "namespace-wide", "cluster-wide")
SPEC_FIELDS = {"scope", "envelopes", "encryptedData", "target", "template", "suspend"}
ID = re.compile(r"[a-z2-7]{32}")
HINT = re.compile(r"[0-9a-f]{32}")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
ITEM_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
VALUE = re.compile(rf"sk1\.({ID.pattern})\.([A-Za-z0-9_-]+)")


def is_string(value):
    return type(value) is str


def is_namespace(text):
    return is_string(text) and len(text) <= 63 and bool(LABEL.fullmatch(text))


def is_name(text):
    return is_string(text) and len(text) <= 253 and all(map(LABEL.fullmatch, text.split(".")))


def is_item_key(text):
    return (is_string(text) and bool(ITEM_KEY.fullmatch(text))
            and text != "." and not text.startswith(".."))


def bucket(size):
    """The bucket of L (6.3)."""
    for small in (64, 128, 256, 512, 1024):
        if size <= small:
            return small
    e = size.bit_length() - 1
    s = e.bit_length()
    step = 1 << (e - s)
    return -(-size // step) * step


# --- the age header (5.2), public part --------------------------------------------------------

MAX_HEADER, MAX_REST = 131072, 2048
ARG = re.compile(rb"[\x21-\x7e]+")


class AgeFile:
    """stanzas: (type, arguments, body); head: what the MAC covers."""

    def __init__(self, data):
        intro = b"age-encryption.org/v1\n"
        if not data.startswith(intro):
            raise invalid("age-header", "does not begin as a binary age v1 file")
        position, self.stanzas = len(intro), []

        def line():
            nonlocal position
            end = data.find(b"\n", position)
            if end < 0:
                raise invalid("age-header", "the header does not end")
            text, position = data[position:end], end + 1
            return text

        while True:
            start, text = position, line()
            if text.startswith(b"---"):
                self.head = data[:start + 3]
                self.mac = b64_bare(text[4:].decode("latin-1"))
                if text[:4] != b"--- " or self.mac is None or len(self.mac) != 32:
                    raise invalid("age-header", "MAC line")
                break
            words = text.split(b" ")
            if words[0] != b"->" or len(words) < 2 or not all(map(ARG.fullmatch, words[1:])):
                raise invalid("age-header", "stanza line")
            lines = []
            while True:
                text = line()
                if len(text) > 64:
                    raise invalid("age-header", "a body line of more than 64 characters")
                lines.append(text)
                if len(text) < 64:
                    break
            body = b64_bare(b"".join(lines).decode("latin-1"))
            if body is None:
                raise invalid("age-header", "stanza body")
            words = [word.decode() for word in words[1:]]
            self.stanzas.append((words[0], words[1:], body))
        if not self.stanzas:
            raise invalid("age-header", "no stanza")
        self.rest = data[position:]
        if position > MAX_HEADER:
            raise invalid("age-file-size", f"header of {position} bytes")
        if len(self.rest) > MAX_REST:
            raise invalid("age-file-size", f"{len(self.rest)} bytes after the header")
        if len(self.stanzas) > 64:
            raise invalid("stanza-count", str(len(self.stanzas)))

        self.accepted = []  # (share, body)
        types = set()
        for kind, args, body in self.stanzas:
            if kind in (HYBRID, CLASSIC):
                share = b64_bare(args[0]) if len(args) == 1 else None
                if share is None or len(share) != (1120 if kind == HYBRID else 32):
                    raise invalid("stanza-shape", "argument")
                if len(body) != 32:
                    raise invalid("stanza-shape", "body")
                types.add(kind)
                self.accepted.append((share, body))
            elif not kind.endswith("-grease"):
                raise invalid("stanza-unknown", kind)
        if len(types) > 1:
            raise invalid("stanza-mixed")
        if not 1 <= len(self.accepted) <= 32:
            raise invalid("recipient-count", f"{len(self.accepted)} accepted stanzas")
        self.type = types.pop()

    def open(self, file_key):
        """Check the MAC, open the payload."""
        mac = hmac.digest(hkdf(file_key, b"", b"header"), self.head, "sha256")
        if not hmac.compare_digest(mac, self.mac):
            raise failed("age-mac")
        if len(self.rest) < 32:
            raise failed("age-payload", "too short")
        key = hkdf(file_key, self.rest[:16], b"payload")
        plain = chacha_open(key, bytes(11) + b"\1", self.rest[16:])
        if plain is None:
            raise failed("age-payload")
        return plain


# --- opening (section 8) -----------------------------------------------------------------------


class Public:
    """Stage 1: everything that public text shows."""

    def __init__(self, obj):
        if not isinstance(obj, dict):
            raise invalid("object-shape", "no mapping")
        size = object_size(obj)
        if size > 1_200_000:
            raise invalid("object-size", f"{size} bytes")
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            raise invalid("object-shape", "spec is no mapping")
        unknown = sorted(set(spec) - SPEC_FIELDS)
        if unknown:
            raise invalid("spec-fields", unknown[0])
        self.scope = spec.get("scope", "strict")
        if not is_string(self.scope) or self.scope not in SCOPES:
            raise invalid("scope-word")
        metadata = obj.get("metadata", {})
        self.namespace = self.name = ""
        if self.scope != "cluster-wide":
            if not isinstance(metadata, dict):
                raise invalid("object-names", "metadata is no mapping")
            self.namespace = metadata.get("namespace")
            if not is_namespace(self.namespace):
                raise invalid("object-names", "namespace")
        if self.scope == "strict":
            self.name = metadata.get("name")
            if not is_name(self.name):
                raise invalid("object-names", "name")

        entries = spec.get("envelopes", {})
        values = spec.get("encryptedData", {})
        if not isinstance(entries, dict) or not isinstance(values, dict):
            raise invalid("object-shape", "envelopes or encryptedData is no mapping")
        if len(entries) > 64:
            raise invalid("envelope-count", str(len(entries)))

        self.values, referenced = {}, set()
        for key, value in values.items():
            if not is_item_key(key):
                raise invalid("key-name", repr(key))
            if not is_string(value):
                raise invalid("object-shape", f"the value of {key} is no string")
            match = VALUE.fullmatch(value)
            if not match:
                raise invalid("value-grammar", key)
            raw = b64_bare(match[2], url=True)
            if raw is None:
                raise invalid("value-base64", key)
            if len(raw) - 40 < 64 or bucket(len(raw) - 40) != len(raw) - 40:
                raise invalid("value-size", key)
            if match[1] not in entries:
                raise invalid("dangling-id", key)
            self.values[key] = (match[1], raw)
            referenced.add(match[1])
        for key in entries:
            if not ID.fullmatch(key):
                raise invalid("envelope-id", repr(key))

        self.envelopes = {}  # id -> (hints, AgeFile), in order of id
        for key in sorted(referenced):
            self.envelopes[key] = self.entry(key, entries[key])

    @staticmethod
    def entry(key, entry):
        if not isinstance(entry, dict) or set(entry) != {"recipients", "ageFile"}:
            raise invalid("envelope-entry", key)
        hints, text = entry["recipients"], entry["ageFile"]
        if not isinstance(hints, list) or not all(map(is_string, hints)) or not is_string(text):
            raise invalid("envelope-entry", key)
        if not 1 <= len(hints) <= 32:
            raise invalid("recipient-count", f"{len(hints)} hints")
        if not all(map(HINT.fullmatch, hints)):
            raise invalid("hint-grammar", key)
        if len(set(hints)) != len(hints):
            raise invalid("hints-duplicate", key)
        data = b64_padded(text)
        if data is None:
            raise invalid("age-file-base64", key)
        age = AgeFile(data)
        if len(age.accepted) != len(hints):
            raise invalid("hints-count", key)
        return hints, age


FIELDS = ["v", "id", "scope", "namespace", "name", "render", "to", "key"]


def envelope_id(data_key, render):
    """The one id that a data key with this `render` can have (5.5)."""
    digest = hashlib.sha256(b"sealkit.dev/v1/id\0" + bytes([render]) + data_key).digest()
    return base64.b32encode(digest[:20]).decode().lower()


def encode_envelope(env):
    return json.dumps({f: env[f] for f in FIELDS}, separators=(",", ":")).encode()


def check_plaintext(plain):
    """5.1 and 5.5: the fields of an envelope, the data key decoded under "key"."""
    try:
        env = json.loads(plain.decode("ascii"))
    except (ValueError, RecursionError):
        raise failed("envelope-fields", "not JSON") from None
    if not isinstance(env, dict) or set(env) != set(FIELDS) or len(plain) > 2016:
        raise failed("envelope-fields")
    if type(env["v"]) is not int or env["v"] != 1:
        raise failed("envelope-version")
    if type(env["render"]) is not bool:
        raise failed("envelope-fields", "render")
    if not is_string(env["id"]) or not ID.fullmatch(env["id"]):
        raise failed("envelope-grammar", "id")
    scope = env["scope"]
    if not is_string(scope) or scope not in SCOPES:
        raise failed("envelope-grammar", "scope")
    if not (env["namespace"] == "" if scope == "cluster-wide" else is_namespace(env["namespace"])):
        raise failed("envelope-grammar", "namespace")
    if not (is_name(env["name"]) if scope == "strict" else env["name"] == ""):
        raise failed("envelope-grammar", "name")
    to = env["to"]
    if (not isinstance(to, list) or not 1 <= len(to) <= 32 or not all(map(is_string, to))
            or not all(map(HINT.fullmatch, to)) or sorted(set(to)) != to):
        raise failed("envelope-to")
    key = b64_padded(env["key"]) if is_string(env["key"]) else None
    if key is None or len(key) != 32:
        raise failed("envelope-key")
    if encode_envelope(env) != plain:
        raise failed("envelope-canonical")
    if envelope_id(key, env["render"]) != env["id"]:
        raise failed("envelope-commitment")
    return {**env, "key": key}


def additional_data(scope, namespace, name, item, envelope_id):
    parts = ["sealkit.dev/v1", scope, namespace, name, item, envelope_id]
    return b"".join(struct.pack(">I", len(p.encode())) + p.encode() for p in parts)


def open_value(key, aad, raw):
    try:
        plain = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(raw[24:], aad, raw[:24], key)
    except CryptoError:
        raise failed("value-aead") from None
    length = struct.unpack(">I", plain[:4])[0]
    if 4 + length > len(plain):
        raise failed("value-length")
    if bucket(4 + length) != len(plain):
        raise failed("value-bucket")
    if any(plain[4 + length:]):
        raise failed("value-padding")
    return plain[4:4 + length]


def open_envelope(public, key, hints, age, held):
    """Stage 3 for one envelope: (data key, hints and `to` agree)."""
    file_key = None
    for hint, (share, body) in zip(hints, age.accepted):
        if hint in held and held[hint].type == age.type:
            file_key = held[hint].unwrap(share, body)
            if file_key is not None:
                break
    if file_key is None:
        raise failed("stanza-does-not-open", key)
    env = check_plaintext(age.open(file_key))
    for field, rule, want in (
        ("id", "context-id", key),
        ("scope", "context-scope", public.scope),
        ("namespace", "context-namespace", public.namespace),
        ("name", "context-name", public.name),
    ):
        if env[field] != want:
            raise Refused("ScopeMismatch", rule, key)
    return env["key"], env["to"] == hints


def open_object(text, held):
    """-> (values, warning) or Refused."""
    public = Public(load_object(text))
    for key, (hints, _) in public.envelopes.items():
        if not any(hint in held for hint in hints):
            raise Refused("NoMatchingKey", "no-hint-names-a-held-key", key)
    data_keys, warning = {}, None
    for key, (hints, age) in public.envelopes.items():
        data_keys[key], agree = open_envelope(public, key, hints, age, held)
        if not agree:
            warning = "HintMismatch"
    values = {}
    for item in sorted(public.values):
        key, raw = public.values[item]
        aad = additional_data(public.scope, public.namespace, public.name, item, key)
        values[item] = open_value(data_keys[key], aad, raw)
    return values, warning


def result(text, held):
    try:
        values, warning = open_object(text, held)
    except Refused as refused:
        return {"code": refused.code, "rule": refused.rule, "warn": None, "values": None}
    return {"code": "opens", "rule": None, "warn": warning,
            "values": {k: base64.b64encode(v).decode() for k, v in values.items()}}


# --- command line --------------------------------------------------------------------------------


def read_text(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def run_index(path, rules):
    base = os.path.dirname(path)
    rings, passed, bad = {}, 0, 0
    for case in json.loads(read_text(path)):
        identity = case["identity"]
        if identity not in rings:
            rings[identity] = read_identities(read_text(os.path.join(base, identity)))
        got = result(read_text(os.path.join(base, case["file"])), rings[identity])
        wrong = [f"{name}: expected {want}, got {have}" for name, want, have in (
            ("code", case["expect"], got["code"]),
            ("warn", case["warn"], got["warn"]),
            ("rule", case["rule"] if rules else got["rule"], got["rule"]),
        ) if want != have]
        if (case.get("values") or None) != (got["values"] or None):
            wrong.append("values differ")
        if wrong:
            bad += 1
            print(f"{case['case']}: {'; '.join(wrong)}")
        else:
            passed += 1
    print(f"{passed} passed, {bad} failed")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description="Open a SealedSecret, or run test vectors.")
    parser.add_argument("--identity", help="identity file")
    parser.add_argument("--index", help="index.json of a vector directory")
    parser.add_argument("--rules", action="store_true", help="with --index: compare rule ids too")
    parser.add_argument("object", nargs="?", help="YAML or JSON of one SealedSecret")
    args = parser.parse_args()
    if args.index:
        return run_index(args.index, args.rules)
    if not args.identity or not args.object:
        parser.error("give --identity FILE and an object, or --index FILE")
    out = result(read_text(args.object), read_identities(read_text(args.identity)))
    print(json.dumps(out, ensure_ascii=False))
    return 0 if out["code"] == "opens" else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""An independent writer of the sealed format, the counterpart of reader.py.

    writer.py < request.json > object.yaml

The request: {"namespace": …, "name": …, "scope": "strict", "render": false,
"recipients": ["age1…", …], "values": {"ITEM": "<base64>", …}}. It makes a new
object with one envelope. Written from docs/design/format.md only.
"""
import base64
import json
import os
import re
import struct
import sys

from kyber_py.ml_kem import ML_KEM_768
from nacl import bindings as sodium

import reader
from reader import CLASSIC, HYBRID, P25519

random = os.urandom  # make_vectors.py puts a seeded source here


# --- recipients (2.2) ------------------------------------------------------------------------


class Recipient:
    def __init__(self, text):
        if text != text.lower():
            raise ValueError("a recipient is all lower-case")
        prefix, data = reader.bech32_decode(text)
        if prefix == "age1pq" and len(data) == 1216:
            self.type, self.ek, self.point = HYBRID, data[:1184], data[1184:]
            for i in range(0, 1152, 3):
                a, b, c = data[i:i + 3]
                if a | (b & 15) << 8 >= 3329 or b >> 4 | c << 4 >= 3329:
                    raise ValueError("the ML-KEM key is not canonical")
        elif prefix == "age" and len(data) == 32:
            self.type, self.point = CLASSIC, data
        else:
            raise ValueError("not a recipient of this format")
        if int.from_bytes(self.point, "little") >= P25519:
            raise ValueError("the X25519 key is not canonical")
        if reader.x25519(bytes(32), self.point) is None:
            raise ValueError("the X25519 key has low order")
        self.text = reader.bech32_encode(prefix, data)
        self.fingerprint = reader.fingerprint(self.text)

    def wrap(self, file_key):
        """One stanza: (type, share, body)."""
        e = random(32)
        share = sodium.crypto_scalarmult_base(e)
        z = reader.x25519(e, self.point)
        if z is None:
            raise ValueError("all-zero X25519 result")
        if self.type == CLASSIC:
            key = reader.hkdf(z, share + self.point, b"age-encryption.org/v1/X25519")
            return CLASSIC, share, chacha_seal(key, bytes(12), file_key)
        ss_pq, ct_pq = ML_KEM_768._encaps_internal(self.ek, random(32))
        key, nonce = reader.hpke_key(reader.xwing(ss_pq, z, share, self.point))
        return HYBRID, ct_pq + share, chacha_seal(key, nonce, file_key)


def chacha_seal(key, nonce, plain):
    return sodium.crypto_aead_chacha20poly1305_ietf_encrypt(plain, b"", nonce, key)


def recipients(texts):
    """Of one type, merged, sorted by fingerprint (section 7, step 1)."""
    found = {}
    for text in texts:
        one = Recipient(text)
        if found.setdefault(one.fingerprint, one).text != one.text:
            raise ValueError("two recipients with one fingerprint")
    if not 1 <= len(found) <= 32 or len({one.type for one in found.values()}) != 1:
        raise ValueError("1 to 32 recipients of one type")
    return [found[key] for key in sorted(found)]


# --- the age file (5.2) -----------------------------------------------------------------------


def b64_bare(data):
    return base64.b64encode(data).decode().rstrip("=")


def stanza_text(kind, args, body):
    text = b64_bare(body)
    lines = [text[i:i + 64] for i in range(0, len(text), 64)]
    if not lines or len(lines[-1]) == 64:
        lines.append("")
    return " ".join(["->", kind, *args]) + "\n" + "".join(line + "\n" for line in lines)


def stanza(kind, share, body):
    return stanza_text(kind, [b64_bare(share)], body)


def age_file(stanzas, file_key, plaintext):
    """An age file from stanza texts; always one chunk."""
    head = ("age-encryption.org/v1\n" + "".join(stanzas) + "---").encode()
    mac = reader.hmac.digest(reader.hkdf(file_key, b"", b"header"), head, "sha256")
    nonce = random(16)
    key = reader.hkdf(file_key, nonce, b"payload")
    payload = chacha_seal(key, bytes(11) + b"\1", plaintext)
    return head + b" " + b64_bare(mac).encode() + b"\n" + nonce + payload


# --- values (6) --------------------------------------------------------------------------------


def pad(value):
    plain = struct.pack(">I", len(value)) + value
    return plain + bytes(reader.bucket(len(plain)) - len(plain))


def value_text(envelope_id, raw):
    return f"sk1.{envelope_id}." + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def seal_value(key, aad, plain):
    nonce = random(24)
    return nonce + sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, aad, nonce, key)


# --- objects -------------------------------------------------------------------------------------


def new_key(render):
    """A data key whose id no YAML tool reads as a number (section 7, step 4)."""
    while True:
        key = random(32)
        if not re.fullmatch("[2-7e]+", reader.envelope_id(key, render)):
            return key


def quoted(text):
    return json.dumps(text).replace("\x7f", "\\u007f")


def object_yaml(namespace, name, scope, envelopes, values):
    """envelopes: id -> (hints, age file); values: item key -> text."""
    lines = ["apiVersion: sealkit.dev/v1beta1", "kind: SealedSecret", "metadata:",
             f"  name: {quoted(name)}", f"  namespace: {quoted(namespace)}",
             "spec:", f"  scope: {scope}"]
    for field, found in (("envelopes", envelopes), ("encryptedData", values)):
        lines.append(f"  {field}:" + ("" if found else " {}"))
        for key, item in found.items():
            if field == "envelopes":
                hints, age = item
                lines += [f"    {quoted(key)}:",
                          f"      recipients: [{', '.join(map(quoted, hints))}]",
                          f"      ageFile: {quoted(base64.b64encode(age).decode())}"]
            else:
                lines.append(f"    {quoted(key)}: {quoted(item)}")
    return "\n".join(lines) + "\n"


def seal(request):
    scope = request.get("scope", "strict")
    bound_namespace = request["namespace"] if scope != "cluster-wide" else ""
    bound_name = request["name"] if scope == "strict" else ""
    to = recipients(request["recipients"])
    render = request.get("render", False)
    key, file_key = new_key(render), random(16)
    envelope_id = reader.envelope_id(key, render)
    fingerprints = [one.fingerprint for one in to]
    plaintext = reader.encode_envelope({
        "v": 1, "id": envelope_id, "scope": scope, "namespace": bound_namespace,
        "name": bound_name, "render": render, "to": fingerprints,
        "key": base64.b64encode(key).decode()})
    reader.check_plaintext(plaintext)
    values = {}
    for item, text in request["values"].items():
        aad = reader.additional_data(scope, bound_namespace, bound_name, item, envelope_id)
        raw = seal_value(key, aad, pad(base64.b64decode(text, validate=True)))
        values[item] = value_text(envelope_id, raw)
    age = age_file([stanza(*one.wrap(file_key)) for one in to], file_key, plaintext)
    envelopes = {envelope_id: (fingerprints, age)} if values else {}
    text = object_yaml(request["namespace"], request["name"], scope, envelopes, values)
    reader.Public(reader.load_object(text))  # every public check, limits included
    return text


if __name__ == "__main__":
    sys.stdout.write(seal(json.load(sys.stdin)))

"""One value text that opens to two values, under two data keys.

XChaCha20-Poly1305 does not commit to its key. A tag is a polynomial in r, a part of the key: it is
linear in each 16-byte block of the ciphertext. Who chooses both keys solves for one block, so that
both tags are equal. Section 11 of docs/design/format.md says what stands against this; the vectors
equivocation-* hold readers to it.
"""
import struct

from nacl import bindings as sodium

import reader

P = 2**130 - 5


def chacha_rounds(key, counter_and_nonce):
    """The 16 words after 20 rounds, and those before."""
    start = struct.unpack("<16I", b"expand 32-byte k" + key + counter_and_nonce)
    s = list(start)

    def turn(to, add, by, bits):
        s[to] = (s[to] + s[add]) & 0xFFFFFFFF
        x = s[by] ^ s[to]
        s[by] = (x << bits | x >> 32 - bits) & 0xFFFFFFFF

    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            for to, add, by, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                turn(to, add, by, bits)
    return s, start


def tag_key(key, nonce):
    """r and s of the Poly1305 that XChaCha20-Poly1305 uses."""
    words, _ = chacha_rounds(key, nonce[:16])
    subkey = struct.pack("<8I", *words[:4], *words[12:])
    words, start = chacha_rounds(subkey, bytes(8) + nonce[16:])
    block = struct.pack("<8I", *((a + b) & 0xFFFFFFFF for a, b in zip(words[:8], start)))
    r, s = (int.from_bytes(half, "little") for half in (block[:16], block[16:]))
    return r & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF, s


def blocks(aad, text):
    """What the tag is computed over, as numbers."""
    def padded(data):
        return data + bytes(-len(data) % 16)
    data = padded(aad) + padded(text) + struct.pack("<QQ", len(aad), len(text))
    return [int.from_bytes(data[i:i + 16], "little") | 1 << 128 for i in range(0, len(data), 16)]


def tag(numbers, r, s):
    total = 0
    for number in numbers:
        total = (total + number) * r % P
    return (total + s) % 2**128


def key_stream(key, nonce):
    return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(bytes(64), b"", nonce, key)[:64]


def two_keys(random, nonce):
    """Two data keys whose key streams begin alike, so that both values have one length."""
    seen = {}
    while True:
        key = random(32)
        start = key_stream(key, nonce)[:4]
        if start in seen:
            return seen[start], key
        seen[start] = key


def equivocate(random, context, item, shown):
    """-> two data keys, the sealed value, its two contents. The value's text has the id of the
    first key. Both contents have 60 bytes; the first begins with `shown`, at most 40 bytes."""
    nonce = random(24)
    keys = two_keys(random, nonce)
    aad = reader.additional_data(*context, item, reader.envelope_id(keys[0], False))
    (r1, s1), (r2, s2) = (tag_key(key, nonce) for key in keys)
    start = struct.pack(">I", 60) + shown.ljust(40)
    while True:
        plain = start + random(4) + bytes(16)  # four bytes vary, the last block is solved for
        text = bytes(a ^ b for a, b in zip(plain, key_stream(keys[0], nonce)))
        numbers = blocks(aad, text)
        numbers[-2] = 0
        apart = pow(r1, 2, P) - pow(r2, 2, P)  # the block before the last is multiplied by r²
        free = (tag(numbers, r2, s2) - tag(numbers, r1, s1)) * pow(apart, -1, P) % P
        if free >> 128 != 1:
            continue
        numbers[-2] = free
        if tag(numbers, r1, s1) != tag(numbers, r2, s2):
            continue  # the tags are equal modulo P, and not modulo 2^128
        text = text[:-16] + (free - 2**128).to_bytes(16, "little")
        raw = nonce + text + tag(numbers, r1, s1).to_bytes(16, "little")
        return keys, raw, [reader.open_value(key, aad, raw) for key in keys]

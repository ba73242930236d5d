#!/usr/bin/env python3
"""Makes the published vectors of what happens to objects later: rewraps (section 10 of
docs/design/format.md) in tests/vectors/rewrap/, merges in tests/vectors/merge/. The files are
committed; tests do not need this script. Each case has its own seed, as in make_vectors.py.

    make_changes.py [DIRECTORY]
"""
import base64
import copy
import json
import os
import shutil
import sys

import make_vectors
import reader
import writer
from make_vectors import HERE, Object, Seeded, fp, key


def ring(*names):
    """Identities by fingerprint."""
    return {fp(name): reader.Identity(make_vectors.SECRETS[name]) for name in names}


class Unknown(Exception):
    """Recipients that nobody follows."""


def successor(old, own, newest, recipients, successors):
    """Who follows a fingerprint: an own key is followed by the newest, before anything else."""
    if old in own:
        return newest
    found = recipients.get(old)
    for _ in successors:
        found = successors.get(old, found)
        old = found.fingerprint if found else old
    return newest if found and found.fingerprint in own else found


def rewrap(envelope_id, entry, held, own, newest, recipients, successors):
    """Section 10: a new entry, or None where there is nothing to do."""
    hints, age = reader.Public.entry(envelope_id, entry)
    if not any(hint in held for hint in hints):
        raise reader.Refused("NoMatchingKey", "no-hint-names-a-held-key")
    file_key = None
    for hint, (share, body) in zip(hints, age.accepted):
        if hint in held:
            file_key = file_key or held[hint].unwrap(share, body)
    if file_key is None:
        raise reader.failed("stanza-does-not-open")
    env = reader.check_plaintext(age.open(file_key))
    if env["id"] != envelope_id:
        raise reader.Refused("ScopeMismatch", "context-id")
    if len(env["to"]) != len(age.accepted):
        raise ValueError("stanzas")
    followed = {old: successor(old, own, newest, recipients, successors) for old in env["to"]}
    if None in followed.values():
        raise Unknown([old for old, new in followed.items() if new is None])
    to = writer.recipients([one.text for one in followed.values()])
    fingerprints = [one.fingerprint for one in to]
    if fingerprints == env["to"] == hints:
        return None
    plain = reader.encode_envelope(
        {**env, "to": fingerprints, "key": base64.b64encode(env["key"]).decode()})
    file_key = writer.random(16)
    sealed = writer.age_file([writer.stanza(*one.wrap(file_key)) for one in to], file_key, plain)
    return {"recipients": fingerprints, "ageFile": base64.b64encode(sealed).decode()}


# --- rewraps -------------------------------------------------------------------------------------


REWRAPS = []


def rewraps(name, why, make, own=("alpha-pq", "beta-pq"), newest="beta-pq", trusted=(), follow=(),
            identity="ring-pq"):
    """`trusted`: names of keys. `follow`: pairs of an old key and the one that follows it."""
    writer.random = Seeded("rewrap " + name)
    made = make()
    envelope_id = made.last
    held = ring(*make_vectors.FILES[identity])
    recipients = {fp(one): key(one) for one in trusted}
    successors = {fp(old): key(new) for old, new in follow}
    entry = {
        "case": name, "file": f"{len(REWRAPS) + 1:02d}-{name}.yaml", "envelope": envelope_id,
        "identity": f"../keys/{identity}.key", "own": sorted(map(fp, own)),
        "newest": f"../keys/{newest}.pub",
        "trusted": {
            **({"trusted.pub": "".join(key(one).text + "\n" for one in trusted)} if trusted else {}),
            **({"successors": "".join(f"{fp(old)}={key(new).text}\n" for old, new in follow)}
               if follow else {}),
        },
        "why": why, "expect": "rewraps", "to": None, "unknown": None, "after": None,
    }
    after = None
    try:
        new = rewrap(envelope_id, made.envelopes[envelope_id], held, set(map(fp, own)),
                     key(newest), recipients, successors)
        if new is None:
            entry["expect"] = "current"
        else:
            entry["to"], entry["after"] = new["recipients"], entry["file"].replace(".", "-after.", 1)
            after = copy.deepcopy(made)
            after.envelopes[envelope_id] = new
    except Unknown as unknown:
        entry["expect"], entry["unknown"] = "unknown", unknown.args[0]
    except reader.Refused as refused:
        entry["expect"] = refused.code
    except ValueError as error:
        entry["expect"] = str(error)
    REWRAPS.append((entry, made, after))


def all_rewraps():
    def sealed(*to, **options):
        return lambda: Object(*to, **options)

    def lying(found):
        return [fp(s) if one == fp(r) else one for one in found]

    for end in ("pq", "x"):
        a, b, r, s, n = (f"{name}-{end}" for name in ("alpha", "beta", "recovery", "stranger", "sister"))
        own = {"own": (a, b), "newest": b, "identity": "ring-" + end}
        rewraps("own-" + end, "an own key is followed by the newest", sealed(a), **own)
        rewraps("recovery-" + end, "a trusted key stays", sealed(a, r), trusted=(r,), **own)
        rewraps("current-" + end, "sealed to exactly these already", sealed(b, r), trusted=(r,), **own)
        rewraps("both-own-" + end, "two own keys are followed by one", sealed(a, b), **own)
        rewraps("successor-" + end, "another cluster's key is followed by its own next one",
                sealed(a, s), follow=((s, n),), **own)
        rewraps("unknown-" + end, "nobody follows one of them, and nobody is left out", sealed(a, s),
                trusted=(r,), **own)
    a, b, r, s, n = "alpha-pq", "beta-pq", "recovery-pq", "stranger-pq", "sister-pq"
    rewraps("chain", "successors of successors", sealed(a, s), follow=((s, r), (r, n)))
    rewraps("successor-is-own", "a key that is followed by an old one of this cluster",
            sealed(a, s), follow=((s, a),))
    rewraps("own-before-list", "the list cannot say who follows an own key", sealed(a), follow=((a, s),))
    rewraps("revoked-own", "an own key that is held no more is followed all the same",
            sealed(a, b), identity="beta-pq")
    rewraps("namespace-wide", "scope and render stay", sealed(
        a, scope="namespace-wide", render=True))
    rewraps("cluster-wide", "bound to no names", sealed(a, scope="cluster-wide"))
    rewraps("hints-lie", "the opened `to` decides, whatever the hints say",
            sealed(a, r, hints=lying), trusted=(r,))
    rewraps("hints-lie-current", "current inside, but the hints lie: they are put right",
            sealed(b, r, hints=lying), trusted=(r,))
    rewraps("fewer-stanzas", "`to` names one more than there are stanzas",
            sealed(a, fields=lambda env: {**env, "to": sorted([fp(a), fp(r)])}), trusted=(r,))
    rewraps("no-key", "no hint names a held key", sealed(s, r), trusted=(s, r))
    rewraps("altered", "the payload was altered", sealed(
        a, age=lambda data, _: data[:-1] + bytes([data[-1] ^ 1])))
    def other_id():
        made = Object(a)
        old = made.last
        made.last = reader.envelope_id(writer.random(32), False)
        made.envelopes[made.last] = made.envelopes.pop(old)
        for item, text in made.values.items():
            made.values[item] = text.replace(old, made.last)
        return made
    rewraps("other-id", "an envelope under the id of another", other_id)
    rewraps("other-key", "the data key is not that of the id", sealed(
        a, fields=lambda env: {**env, "key": base64.b64encode(bytes(32)).decode()}))
    rewraps("other-render", "another `render` under the same data key", sealed(
        a, fields=lambda env: {**env, "render": True}))


# --- merges --------------------------------------------------------------------------------------


MERGES = []


def merges(name, why, ours, theirs, result=None, wanted=None):
    """Three versions of one object; `result` builds what follows, None is a conflict. `wanted`:
    the key that the path is for."""
    writer.random = Seeded("merge " + name)
    start = Object("alpha-pq", values={"A": b"1", "B": b"2", "C": b"3"})
    versions = {"base": start}
    for side, change in (("ours", ours), ("theirs", theirs)):
        versions[side] = copy.deepcopy(start)
        change(versions[side])
    entry = {"case": name, "why": why, "recipients": f"../keys/{wanted}.pub" if wanted else None,
             "expect": "merges" if result else "conflict"}
    if result:
        versions["result"] = result(**versions)
    MERGES.append((entry, versions))


def put(item, value):
    """Seal one value anew, as `seal set` does: under an envelope of its own."""
    def change(made):
        made.envelope("alpha-pq")
        made.value(item, value)
        drop_unused(made)
    return change


def take(item):
    def change(made):
        del made.values[item]
        drop_unused(made)
    return change


def rotate(to):
    """Every envelope sealed to another key."""
    def change(made):
        held = ring("alpha-pq")
        for envelope_id, entry in made.envelopes.items():
            made.envelopes[envelope_id] = rewrap(
                envelope_id, entry, held, {fp("alpha-pq")}, key(to), {}, {}) or entry
    return change


def drop_unused(made):
    used = {text.split(".")[1] for text in made.values.values()}
    for envelope_id in set(made.envelopes) - used:
        del made.envelopes[envelope_id]


def picked(**sides):
    """The result: base, each item from the side named; envelopes follow their values, an id that
    several sides have comes from `envelopes`."""
    prefer = sides.pop("envelopes", "base")
    def build(base, ours, theirs):
        made = copy.deepcopy(base)
        named = {"base": base, "ours": ours, "theirs": theirs}
        for item, side in sides.items():
            made.values.pop(item, None)
            if side:
                made.values[item] = named[side].values[item]
        made.envelopes.clear()
        for text in made.values.values():
            envelope_id = text.split(".")[1]
            for side in (prefer, "base", "ours", "theirs"):
                if envelope_id in named[side].envelopes:
                    made.envelopes[envelope_id] = named[side].envelopes[envelope_id]
                    break
        return made
    return build


def all_merges():
    merges("different-keys", "each side changes another key", put("A", b"ours"), put("C", b"theirs"),
           picked(A="ours", C="theirs"))
    merges("one-key", "both change one key", put("B", b"ours"), put("B", b"theirs"))
    merges("new-keys", "each side adds a key", put("D", b"ours"), put("E", b"theirs"),
           picked(D="ours", E="theirs"))
    merges("one-new-key", "both add a key of one name", put("D", b"ours"), put("D", b"theirs"))
    merges("taken-and-changed", "one side takes a key out, the other changes another", take("A"),
           put("C", b"theirs"), picked(A=None, C="theirs"))
    merges("taken-or-changed", "one side takes out what the other changes", take("B"),
           put("B", b"theirs"))
    merges("taken-twice", "both take one key out", take("B"), take("B"), picked(B=None))
    merges("rotation-and-edit", "one side rotates, the other sets a value", rotate("beta-pq"),
           put("B", b"theirs"), picked(B="theirs", envelopes="ours"))
    merges("edit-and-rotation", "the same the other way round", put("B", b"ours"),
           rotate("beta-pq"), picked(B="ours", envelopes="theirs"))
    merges("two-rotations-one-wanted", "two wraps of one id: the one that the path is for",
           rotate("stranger-pq"), rotate("beta-pq"), picked(envelopes="theirs"), wanted="beta-pq")
    merges("two-rotations", "two wraps of one id, and nothing decides", rotate("stranger-pq"),
           rotate("beta-pq"))


# --- files ---------------------------------------------------------------------------------------


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "vectors")
    make_vectors.load_codes()
    all_rewraps()
    all_merges()

    def folder(name):
        path = os.path.join(out, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)

        def write(file, text):
            with open(os.path.join(path, file), "w", encoding="utf-8", newline="\n") as opened:
                opened.write(text)
        return write

    def lines(entries):
        return json.dumps(entries, ensure_ascii=False, indent=1) + "\n"

    write, opens = folder("rewrap"), []
    for entry, made, after in REWRAPS:
        write(entry["file"], f"# case: {entry['case']}\n# why: {entry['why']}\n" + made.text())
        if after:
            write(entry["after"], f"# case: {entry['case']}, afterwards\n" + after.text())
            newest = os.path.basename(entry["newest"]).removesuffix(".pub")
            opens.append({
                "case": entry["case"], "file": entry["after"], "identity": f"../keys/{newest}.key",
                "expect": "opens", "warn": None, "rule": None, "why": entry["why"],
                "values": {k: base64.b64encode(v).decode() for k, v in after.plain.items()}})
    write("index.json", lines([entry for entry, _, _ in REWRAPS]))
    write("opens.json", lines(opens))

    write = folder("merge")
    for number, (entry, versions) in enumerate(MERGES, 1):
        for side, made in versions.items():
            entry[side] = f"{number:02d}-{entry['case']}-{side}.yaml"
            write(entry[side], made.text())
    write("index.json", lines([entry for entry, _ in MERGES]))
    print(f"{len(REWRAPS)} rewraps, {len(MERGES)} merges")


if __name__ == "__main__":
    main()

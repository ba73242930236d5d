// typage, the implementation of age for JavaScript: one request a line, one answer a line.
import { createInterface } from "node:readline";
import { Decrypter, Encrypter, identityToRecipient } from "age-encryption";

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const text = (bytes) => Buffer.from(bytes).toString("base64");

async function answer({ recipients, plaintext, identity, file }) {
  if (recipients) {
    const encrypter = new Encrypter();
    recipients.forEach((recipient) => encrypter.addRecipient(recipient));
    return text(await encrypter.encrypt(bytes(plaintext)));
  }
  if (file) {
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    return text(await decrypter.decrypt(bytes(file), "uint8array"));
  }
  return identityToRecipient(identity);
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(await answer(JSON.parse(line)));
}

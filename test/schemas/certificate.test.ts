import tap from 'tap';
import {
  canonicalJson,
  createSigningKey,
  isSigned,
  signCertificate,
  signingKeyId,
} from '../../schemas/certificate.ts';

const key = createSigningKey();
const certificate = { kind: 'erase', counts: { b: 2, a: 1 }, list: ['x', null, true], text: 'é "q"\n' };

await tap.test('a certificate is good as long as it says the same', async (t) => {
  const signed = signCertificate(key, certificate);
  t.equal(signed.signature.key_id, signingKeyId(key));
  t.ok(isSigned(signed));
  const read = JSON.parse(JSON.stringify(signed)) as typeof signed;
  t.ok(isSigned(read), 'after it was written and read');
  const { counts: _, ...rest } = certificate;
  t.ok(isSigned({ ...signed, certificate: { counts: { a: 1, b: 2 }, ...rest } }), 'in another order');
  t.notOk(isSigned({ ...signed, certificate: { ...certificate, counts: { a: 1, b: 3 } } }));
  t.notOk(isSigned({ ...signed, certificate: rest }));
});

await tap.test('another key is another key', async (t) => {
  const signed = signCertificate(key, certificate);
  const other = signCertificate(createSigningKey(), certificate);
  t.not(other.signature.key_id, signed.signature.key_id);
  t.notOk(isSigned({ certificate, signature: { ...signed.signature, value: other.signature.value } }));
  // Its own signature, under the name of the key that one knows.
  t.notOk(isSigned({ certificate, signature: { ...other.signature, key_id: signed.signature.key_id } }));
});

await tap.test('canonical JSON sorts names and has no white space', async (t) => {
  t.equal(
    canonicalJson(certificate),
    '{"counts":{"a":1,"b":2},"kind":"erase","list":["x",null,true],"text":"é \\"q\\"\\n"}',
  );
});

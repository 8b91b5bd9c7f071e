import tap from 'tap';
import { CdrhouseError } from '../../schemas/errors.ts';
import { checkSettings, listSettings } from '../../schemas/settings.ts';

function complaint(raw: unknown): string {
  try {
    checkSettings(raw);
  } catch (error) {
    if (error instanceof CdrhouseError && error.code === 'SETTINGS_INVALID') return error.message;
    throw error;
  }
  return '';
}

await tap.test('without a file there is one feed, and every setting has its default', async (t) => {
  const settings = checkSettings({});
  t.match(settings.feeds, [{ name: 'default', topic: 'cdr', format: 'canonical-csv', time_zone: 'UTC' }]);
  t.equal(settings.feeds[0]!.country, undefined);
  t.equal(settings.kafka.brokers, '127.0.0.1:9092');
  t.equal(settings.retention.months, 36);
  t.ok(Object.isFrozen(settings.kafka));
  t.ok(listSettings().every(({ description }) => description !== ''));
});

await tap.test('a feed without a topic has one of its own', async (t) => {
  t.equal(checkSettings({ feeds: [{ name: 'paris-pa2' }] }).feeds[0]!.topic, 'cdr.paris-pa2');
});

await tap.test('a wrong setting is named with its path, what is wrong and what is allowed', async (t) => {
  t.match(complaint({ kafka: { broker: 'x' } }), /^kafka\.broker: is no setting; allowed here: brokers,/);
  t.match(complaint({ kafaka: {} }), /^kafaka: is no setting; allowed here: feeds, kafka,/);
  t.match(complaint({ retention: { months: 'three' } }), /^retention\.months: "three" must be integer/);
  t.match(complaint({ query: { limit_max: 0 } }), /^query\.limit_max: 0 must be >= 1/);
  t.match(
    complaint({ feeds: [{ name: 'a', format: 'nokia' }] }),
    /^feeds\[0\]\.format: "nokia" is not allowed; allowed: canonical-csv, asterisk-csv/,
  );
  t.match(
    complaint({ feeds: [{ name: 'a', time_zone: 'Europe/Pariss' }] }),
    /^feeds\[0\]\.time_zone: .*no IANA time zone/,
  );
  t.match(complaint({ feeds: [{ name: 'a', country: 'XX' }] }), /^feeds\[0\]\.country: "XX" is no country/);
  t.match(
    complaint({ feeds: [{ name: 'a' }, { name: 'a', topic: 'b' }] }),
    /^feeds\[1\]\.name: "a" is used twice/,
  );
  t.match(
    complaint({
      feeds: [
        { name: 'a', topic: 't' },
        { name: 'b', topic: 't' },
      ],
    }),
    /^feeds\[1\]\.topic: "t" is used twice/,
  );
  t.match(
    complaint({ feeds: [{ name: 'a', format: 'canonical-csv', identity: 'record' }] }),
    /^feeds\[0\]\.identity: .*has no id/,
  );
  t.match(complaint({ feeds: [] }), /^feeds/);
});

await tap.test(
  'librdkafka properties that would break the guarantees are refused with the reason',
  async (t) => {
    for (const property of [
      'group.id',
      'enable.auto.commit',
      'enable.auto.offset.store',
      'auto.offset.reset',
      'isolation.level',
      'partition.assignment.strategy',
      'group.instance.id',
      'bootstrap.servers',
      'rebalance_cb',
    ]) {
      const refused = new RegExp(`^kafka\\.client\\.${property}: may not be set; `);
      t.match(complaint({ kafka: { client: { [property]: 'x' } } }), refused, property);
    }
    t.equal(
      complaint({ kafka: { client: { 'security.protocol': 'ssl', 'ssl.ca.location': '/ca.pem' } } }),
      '',
    );
  },
);

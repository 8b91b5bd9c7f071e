import tap from 'tap';
import { CdrhouseError } from '../../schemas/errors.ts';
import { listSettings, SettingsSchema } from '../../schemas/settings-schema.ts';
import validate from '../../schemas/settings-validator.cjs';
import { checkSettings } from '../../schemas/settings.ts';

function complaint(raw: unknown): string {
  try {
    checkSettings(raw);
  } catch (error) {
    if (error instanceof CdrhouseError && error.code === 'SETTINGS_INVALID') return error.message;
    throw error;
  }
  return '';
}

await tap.test('the validator was made of this schema', async (t) => {
  t.strictSame(validate.schema, JSON.parse(JSON.stringify(SettingsSchema)), 'make build makes it anew');
});

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
    /^feeds\[0\]\.format: "nokia" is not allowed; allowed: canonical-csv, canonical-json, asterisk-csv,/,
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
  t.match(
    complaint({ feeds: [{ name: 'a', numbers: { strip: ['tel'] } }] }),
    /^feeds\[0\]\.numbers\.strip\[0\]: "tel" must match/,
  );
  t.match(
    complaint({ feeds: [{ name: 'a', numbers: { dialed: { bare: 'local' } } }] }),
    /^feeds\[0\]\.numbers\.dialed\.bare: "local" is not allowed; allowed: plan, national, international/,
  );
  t.match(
    complaint({ feeds: [{ name: 'a', numbers: { calling: { bare: 'national' } } }] }),
    /^feeds\[0\]\.numbers\.bare: national numbers need a country/,
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

function complaintOfFeed(feed: object): string {
  return complaint({ feeds: [{ name: 'a', ...feed }] });
}

await tap.test('what a feed says about its format is checked', async (t) => {
  t.match(
    complaintOfFeed({ format: 'asterisk-custom', columns: ['src', 'dst', 'srt'] }),
    /^feeds\[0\]\.columns\[2\]: "srt" is not known; allowed: - \(passed over\), accountcode, src,/,
  );
  t.match(
    complaintOfFeed({ format: 'asterisk-custom', columns: ['src', 'dst', 'start', '-'] }),
    'feeds[0].columns: every record needs duration',
  );
  t.match(
    complaintOfFeed({ format: 'freeswitch-csv', columns: ['destination_number', 'duration', 'duration'] }),
    /columns\[2\]: "duration" stands there twice[^]*needs ani or caller_id_number[^]*needs start_uepoch or start_epoch or start_stamp/,
  );
  t.equal(
    complaintOfFeed({
      format: 'freeswitch-csv',
      columns: ['ani', 'destination_number', 'start_epoch', 'duration'],
    }),
    '',
  );
  t.match(
    complaintOfFeed({ format: 'asterisk-csv', columns: ['src'] }),
    /columns: format asterisk-csv has columns of its own; allowed with asterisk-custom, freeswitch-csv, 3cx,/,
  );
  t.match(complaintOfFeed({ format: 'delimited' }), 'feeds[0].delimited: is missing');
  t.match(
    complaintOfFeed({ delimited: { columns: {} } }),
    'feeds[0].delimited: goes with format delimited, not with canonical-csv',
  );
  const columns = { calling_number: 1, dialed_number: 2, start: 3, duration: 4 };
  const delimited = (more: object): string =>
    complaintOfFeed({ format: 'delimited', delimited: { columns, ...more } });
  t.equal(delimited({}), '');
  t.match(delimited({ columns: { ...columns, start: undefined } }), 'delimited.columns.start: is missing');
  t.match(
    delimited({ columns: { ...columns, begin: 5 } }),
    /delimited\.columns\.begin: is no setting; allowed here: calling_number,/,
  );
  t.match(delimited({ columns: { ...columns, start: 1025 } }), /delimited\.columns\.start: .*1024/);
  t.equal(delimited({ columns: { ...columns, start: 1024 } }), '');
  t.match(
    delimited({ columns: { ...columns, start: 'when' } }),
    'columns.start: "when" is a name; allowed without header: true: numbers from 1',
  );
  t.match(
    delimited({ header: true }),
    'columns.start: 3 is a number; allowed with header: true: names of the header line',
  );
  t.match(delimited({ separator: ';;' }), /delimited\.separator: ";;" must match pattern/);
  t.match(
    delimited({ quotes: 'single' }),
    'delimited.quotes: "single" is not allowed; allowed: rfc4180, lenient, backslash, none',
  );
  t.match(
    delimited({ duration_unit: 'min' }),
    'delimited.duration_unit: "min" is not allowed; allowed: s, ms, us, ticks, hh:mm:ss, mm:ss',
  );
  t.match(delimited({ start: 'yyyy-QQ' }), /^feeds\[0\]\.delimited\.start: /);
  t.match(
    delimited({ outcomes: { OK: 'fine' } }),
    /delimited\.outcomes\.OK: "fine" is not allowed; allowed: unknown, answered/,
  );
  t.match(
    complaintOfFeed({ encoding: 'utf-16' }),
    /^feeds\[0\]\.encoding: "utf-16" is not allowed; allowed: utf-8, iso-8859-1,/,
  );
  t.match(
    complaintOfFeed({ zone_abbreviations: { PST: '8' } }),
    /^feeds\[0\]\.zone_abbreviations\.PST: "8" must match pattern/,
  );
});

await tap.test('what goes with the TTL of the term cannot be kept longer', async (t) => {
  for (const name of ['dead_letter_months', 'journal_months']) {
    t.equal(complaint({ retention: { months: 12, [name]: 12 } }), '');
    t.match(
      complaint({ retention: { months: 12, [name]: 13 } }),
      `retention.${name}: must not be above retention.months (12)`,
    );
  }
});

await tap.test('a feed keeps its calls for no longer than all are kept', async (t) => {
  const retention = { months: 12 };
  const ofLab = (months: number): string =>
    complaint({ retention, feeds: [{ name: 'lab', retention_months: months }] });
  t.equal(ofLab(12), '');
  t.match(ofLab(13), 'feeds[0].retention_months: must not be above retention.months (12)');
});

import tap from 'tap';
import { withAction } from '../../ingest/log.ts';
import { PROGRAM_ERRORS } from '../../schemas/errors.ts';

await tap.test('a line with a code of the catalogue says what the operator can do', (t) => {
  t.strictSame(withAction({ code: 'PARTITION_GAP', topic: 'cdr' }), {
    code: 'PARTITION_GAP',
    topic: 'cdr',
    action: PROGRAM_ERRORS.PARTITION_GAP.action,
  });
  t.strictSame(withAction({ code: 'PARTITION_GAP', action: 'other' }), {
    code: 'PARTITION_GAP',
    action: 'other',
  });
  for (const other of [{}, { code: 'toString' }, { code: 7 }, { partitions: 3 }])
    t.strictSame(withAction(other), other);
  t.end();
});

import tap from 'tap';
import { staleAssignment } from '../../ingest/stale-assignment.ts';

const partitions = (topic: string, ...numbers: number[]) =>
  numbers.map((partition) => ({ topic, partition }));

await tap.test('an assignment that cannot be of today', (t) => {
  const a = partitions('a', 0, 1);
  const b = partitions('b', 0);
  const counts = new Map(Object.entries({ a: 2, b: 1 }));
  const alone = { members: 1, assigned: a };
  t.equal(staleAssignment(a, counts, ['b'], alone), 'a topic that it does not subscribe to');
  t.equal(staleAssignment(a, counts, ['b'], { members: 1 }), 'a topic that it does not subscribe to');
  t.equal(staleAssignment(a, counts, ['a', 'b'], alone), 'partitions that nobody has');
  t.equal(
    staleAssignment(partitions('a', 0), counts, ['a', 'b'], { members: 2, assigned: a }),
    'partitions that nobody has',
    'fewer partitions than members',
  );
  const grown = new Map(Object.entries({ a: 3 }));
  t.equal(staleAssignment(a, grown, ['a'], alone), 'partitions that nobody has');
  t.equal(
    staleAssignment([], counts, ['a', 'b'], { members: 2, assigned: [...a, ...b] }),
    'less than its share',
  );
  t.end();
});

await tap.test('one that can', (t) => {
  const a = partitions('a', 0, 1);
  const counts = new Map(Object.entries({ a: 2 }));
  t.equal(staleAssignment(a, counts, ['a'], { members: 1, assigned: a }), undefined);
  t.equal(staleAssignment([], counts, ['a'], { members: 2 }), undefined, 'it is being shared out');
  t.equal(staleAssignment([], counts, ['a'], { members: 3, assigned: a }), undefined, 'too many members');
  t.equal(
    staleAssignment(a, counts, ['a', 'missing'], { members: 1, assigned: a }),
    undefined,
    'a topic that does not exist',
  );
  t.equal(
    staleAssignment(a.slice(1), counts, ['a'], {
      members: 2,
      assigned: [...a, ...partitions('of other feeds', 0)],
    }),
    undefined,
    'feeds of others',
  );
  t.end();
});

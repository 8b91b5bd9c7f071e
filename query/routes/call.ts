import {
  CallEvidenceAnswer,
  callIdParameters,
  LookupHeaders,
  problemAnswers,
  ZoneQuery,
} from '../../schemas/api.ts';
import { requireRole, type Caller } from '../auth.ts';
import { goneSignal, zoneOf, type ApiServer, type QueryContext } from '../context.ts';
import { findCall, type FoundCall } from '../evidence.ts';
import { writeEvidence } from '../evidence-answer.ts';
import { askedBy, type Lookup } from '../journal.ts';
import { heldNumbersSql, speaksOf, objectedProblem, type HeldNumber } from '../privacy.ts';
import { Problem } from '../problem.ts';

/** `GET /v1/calls/{id}`: one call with its evidence. */
export function callRoute(app: ApiServer, context: QueryContext): void {
  app.get(
    '/v1/calls/:id',
    {
      config: { role: 'disputes' },
      schema: {
        summary: 'One call with its evidence: where it came from, how it was read, what speaks against it',
        tags: ['calls'],
        security: [{ key: [] }],
        params: callIdParameters,
        querystring: ZoneQuery,
        headers: LookupHeaders,
        response: {
          200: CallEvidenceAnswer,
          ...problemAnswers([
            'HEADER_INVALID',
            'CALL_UNKNOWN',
            'CALL_WITHHELD',
            'PURPOSE_REFUSED',
            'JOURNAL_UNAVAILABLE',
          ]),
        },
      },
    },
    async (request, reply) => {
      const caller = requireRole(request.caller, 'disputes');
      const zone = zoneOf(context, request.query.time_zone);
      const { id } = request.params;
      const key = context.callIds.keyOf(id);
      const gone = goneSignal(reply);
      const found = key === undefined ? undefined : await findCall(context, key, caller, gone);
      if (found === undefined) throw new Problem('CALL_UNKNOWN', '');
      const lookup: Lookup = {
        ...askedBy(request.id, caller, request.headers),
        route: '/v1/calls/{id}',
        numbers: numbersOf(found),
        filter: { id, feed: [found.row.feed], time_zone: zone },
      };
      const unmasked = caller.roles.has('disputes:unmasked');
      // Read before, because only the call says whose it is; nothing is shown before it is written.
      return context.journal.around(
        lookup,
        gone,
        async (ended) => {
          const restricted = await restrictedNumbers(context, found, caller, lookup.purpose, ended);
          const isHidden = (number: string): boolean => !unmasked || restricted.has(number);
          return { ...writeEvidence(context, found, zone, isHidden), time_zone: zone };
        },
        () => 1,
      );
    },
  );
}

/**
 * Numbers that must be masked for their holders. Throws the Problem CALL_WITHHELD where the call is the own one of
 * somebody who asked that it is not shown, PURPOSE_REFUSED where they objected to this purpose.
 */
async function restrictedNumbers(
  { database }: QueryContext,
  found: FoundCall,
  caller: Caller,
  purpose: string,
  gone: AbortSignal,
): Promise<Set<string>> {
  if (caller.roles.has('privacy')) return new Set();
  const numbers = numbersOf(found);
  const held = await database.select<HeldNumber>(
    'restrictions',
    heldNumbersSql(database.database, numbers),
    gone,
  );
  const { row } = found;
  const own = held.filter(
    (each) => speaksOf(each, row.calling_number, row) || speaksOf(each, row.displayed_caller_id, row),
  );
  if (own.some((each) => each.purpose === '')) throw new Problem('CALL_WITHHELD', '');
  if (own.some((each) => each.purpose === purpose)) throw objectedProblem(purpose);
  const before = found.rectified.map((each) => each.before);
  const calls = [found.row, ...found.replaced, ...before, ...found.otherContents, ...found.otherCalls];
  return new Set(
    numbers.filter((number) =>
      held.some((each) => each.purpose === '' && calls.some((call) => speaksOf(each, number, call))),
    ),
  );
}

/** Everyone whose call is shown. */
function numbersOf({ row, replaced, rectified, otherContents, otherCalls }: FoundCall): string[] {
  const before = rectified.map((each) => each.before);
  const numbers = [row, ...replaced, ...before, ...otherContents, ...otherCalls].flatMap((each) => [
    each.calling_number,
    each.displayed_caller_id,
    each.dialed_number,
  ]);
  return [...new Set(numbers)].filter((number) => number !== '');
}

import {
  CallEvidenceAnswer,
  callEvidenceQuery,
  callIdParameters,
  LookupHeaders,
  problemAnswers,
} from '../../schemas/api.ts';
import { requireRole } from '../auth.ts';
import { goneSignal, zoneOf, type ApiServer, type QueryContext } from '../context.ts';
import { findCall, type FoundCall } from '../evidence.ts';
import { writeEvidence } from '../evidence-answer.ts';
import { askedBy, type Lookup } from '../journal.ts';
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
        querystring: callEvidenceQuery,
        headers: LookupHeaders,
        response: {
          200: CallEvidenceAnswer,
          ...problemAnswers(['HEADER_INVALID', 'CALL_UNKNOWN', 'JOURNAL_UNAVAILABLE']),
        },
      },
    },
    async (request, reply) => {
      const caller = requireRole(request.caller, 'disputes');
      const zone = zoneOf(context, request.query.time_zone);
      const { id } = request.params;
      const key = context.callIds.keyOf(id);
      const found = key === undefined ? undefined : await findCall(context, key, goneSignal(reply));
      if (found === undefined) throw new Problem('CALL_UNKNOWN', '');
      const lookup: Lookup = {
        ...askedBy(request.id, caller, request.headers),
        route: '/v1/calls/{id}',
        numbers: numbersOf(found),
        filter: { id, time_zone: zone },
      };
      // Read before, because only the call says whose it is; nothing is shown before it is written.
      await context.journal.started(lookup);
      const unmasked = caller.roles.has('disputes:unmasked');
      const answer = {
        ...writeEvidence(context, found, zone, () => !unmasked),
        time_zone: zone,
      };
      await context.journal.finished(lookup, 1, true);
      return answer;
    },
  );
}

/** Everyone whose call is shown. */
function numbersOf({ row, replaced, otherContents, otherCalls }: FoundCall): string[] {
  const numbers = [row, ...replaced, ...otherContents, ...otherCalls].flatMap((each) => [
    each.calling_number,
    each.displayed_caller_id,
    each.dialed_number,
  ]);
  const named = [...new Set(numbers)].filter((number) => number !== '');
  return named.length === 0 ? [''] : named;
}

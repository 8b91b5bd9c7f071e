import type { Settings } from '../schemas/settings.ts';
import { undoneRequests } from './subject-rectify.ts';
import { isoTime, OPEN_END_MS } from './subject.ts';
import {
  findRequest,
  isOpen,
  isOverdue,
  listRequests,
  withSubjects,
  type SubjectRequest,
} from './subject-requests.ts';

/** A request as `subject list` shows it. Times are ISO 8601 in UTC. */
export interface ListedRequest {
  readonly request_id: string;
  readonly kind: string;
  /** `undone`: a correction whose call was read again since, under other settings of its feed. */
  readonly state: string;
  readonly reason: string;
  /** How many numbers it names; they are stored as keyed hashes. */
  readonly numbers: number;
  readonly number_hmacs: readonly string[];
  readonly hmac_key_id: string;
  readonly feeds: readonly string[];
  readonly from: string;
  /** Null: to this day. */
  readonly to: string | null;
  readonly asked_at: string;
  readonly due_at: string;
  readonly overdue: boolean;
  readonly finished_at: string | null;
  readonly details: SubjectRequest['details'];
}

/**
 * Requests of persons, those first that must be answered first.
 * @param due only those for which something is to be done
 */
export function subjectList(
  settings: Settings,
  options: { readonly due: boolean },
): Promise<ListedRequest[]> {
  return withSubjects(settings, async (context) => {
    const nowMs = Date.now();
    const undone = await undoneRequests(context);
    const requests = (await listRequests(context)).map((request) => listed(request, undone, nowMs));
    return options.due ? requests.filter(isOpen) : requests;
  });
}

/** One request with its certificate, null until it has one. Throws REQUEST_UNKNOWN. */
export function subjectShow(
  settings: Settings,
  requestId: string,
): Promise<ListedRequest & { readonly certificate: object | null }> {
  return withSubjects(settings, async (context) => {
    const request = await findRequest(context, requestId);
    return {
      ...listed(request, await undoneRequests(context), Date.now()),
      certificate: request.certificate ?? null,
    };
  });
}

function listed(request: SubjectRequest, undone: ReadonlySet<string>, nowMs: number): ListedRequest {
  const { finishedMs, toMs } = request;
  return {
    request_id: request.requestId,
    kind: request.kind,
    state: undone.has(request.requestId) ? 'undone' : request.state,
    reason: request.reason,
    numbers: request.numberHmacs.length,
    number_hmacs: request.numberHmacs,
    hmac_key_id: request.hmacKeyId,
    feeds: request.feeds,
    from: isoTime(request.fromMs),
    to: toMs === OPEN_END_MS ? null : isoTime(toMs),
    asked_at: isoTime(request.askedMs),
    due_at: isoTime(request.dueMs),
    overdue: isOverdue(request, nowMs),
    finished_at: finishedMs === null ? null : isoTime(finishedMs),
    details: request.details,
  };
}

/** A request as a line of text says it. */
export function requestCells(request: ListedRequest): string[] {
  const { request_id: id, kind, state, due_at: due, overdue, finished_at: finished, reason } = request;
  const when = finished === null ? `due ${due}${overdue ? ' OVERDUE' : ''}` : `finished ${finished}`;
  return [id, kind, state, when, reason];
}

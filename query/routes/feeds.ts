import { FeedsAnswer, ZoneQuery } from '../../schemas/api.ts';
import { goneSignal, zoneOf, type ApiServer, type QueryContext } from '../context.ts';
import { readFeedRows } from '../feed-states.ts';

/** `GET /v1/feeds`: how far each feed is read, and what was read. */
export function feedsRoutes(app: ApiServer, context: QueryContext): void {
  const { settings, database, retentionMonths } = context;
  const feeds = settings.feeds.map(({ name, topic, max_silence_s: seconds }) => ({
    name,
    topic,
    maxSilenceMs: seconds * 1000,
  }));
  app.get(
    '/v1/feeds',
    {
      config: { role: 'operations' },
      schema: {
        summary: 'How far each feed is read, what was rejected, and whether anything may be missing',
        tags: ['operations'],
        security: [{ key: [] }],
        querystring: ZoneQuery,
        response: {
          200: FeedsAnswer,
        },
      },
    },
    async (request, reply) => {
      const zone = zoneOf(context, request.query.time_zone);
      const term = { months: retentionMonths, nowMs: Date.now() };
      const data = await readFeedRows(database, { feeds, term, zone }, goneSignal(reply));
      return { data, time_zone: zone };
    },
  );
}

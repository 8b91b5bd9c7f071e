import { Type } from 'typebox';
import { problemAnswers } from '../../schemas/api.ts';
import { CdrhouseError } from '../../schemas/errors.ts';
import { readStoredSettings } from '../../schemas/stored-settings.ts';
import type { ApiServer, QueryContext } from '../context.ts';
import { Problem } from '../problem.ts';

const TEXT = 'text/plain; charset=utf-8';
const Text = Type.String();

/** `/healthz`, `/readyz` and `/metrics`: for machines of the operator, without a key. */
export function operationsRoutes(app: ApiServer, context: QueryContext): void {
  app.get(
    '/healthz',
    {
      exposeHeadRoute: true,
      schema: { summary: 'The process lives', tags: ['operations'], response: { 200: text() } },
    },
    async (_request, reply) => reply.type(TEXT).send('ok\n'),
  );
  app.get(
    '/readyz',
    {
      exposeHeadRoute: true,
      schema: {
        summary: 'The database answers and its tables fit this program',
        tags: ['operations'],
        response: { 200: text(), ...problemAnswers(['DATABASE_UNAVAILABLE']) },
      },
    },
    async (_request, reply) => {
      await checkReady(context);
      return reply.type(TEXT).send('ready\n');
    },
  );
  app.get(
    '/metrics',
    { schema: { summary: 'Prometheus metrics', tags: ['operations'], response: { 200: text() } } },
    async (_request, reply) =>
      reply.type(context.metrics.registry.contentType).send(await context.metrics.registry.metrics()),
  );
}

/** `/openapi.json`: the description of the API, without a key. */
export function descriptionRoute(app: ApiServer): void {
  app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(JSON.stringify(app.swagger())),
  );
}

function text() {
  return { description: 'OK', content: { 'text/plain': { schema: Text } } };
}

/** Throws the Problem DATABASE_UNAVAILABLE, which says whether it is the connection or the schema. */
async function checkReady({ database, settings }: QueryContext): Promise<void> {
  try {
    const { settings: stored, schemaVersion } = await database.storedSettings();
    readStoredSettings(stored, schemaVersion, settings);
  } catch (cause) {
    const isSchema = cause instanceof CdrhouseError;
    throw new Problem('DATABASE_UNAVAILABLE', isSchema ? cause.message : '', { cause });
  }
}

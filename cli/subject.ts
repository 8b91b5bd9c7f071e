import type { Command } from 'commander';
import type { PersonAsked, SubjectReport } from '../retention/subject-requests.ts';
import { CdrhouseError } from '../schemas/errors.ts';
import { keptTopics, moment, print, readSettings, say } from './command.ts';

/** `subject`: rights of persons. */
export function addSubject(program: Command): void {
  const subject = program
    .command('subject')
    .description('rights of a person: by numbers and the time in which they held them');
  subject
    .command('list')
    .description('requests, those first that must be answered first; never shows a number')
    .option('--due', 'only those that are not finished')
    .option('--id <request>', 'one request with its signed certificate, as JSON')
    .option('--json', 'print as JSON, one object a line')
    .action(async (options: { due?: boolean; id?: string; json?: boolean }) => {
      const { requestCells, subjectList, subjectShow } = await import('../retention/subject-list.ts');
      if (options.id !== undefined) {
        print(`${JSON.stringify(await subjectShow(await readSettings(), options.id), null, 2)}\n`);
        return;
      }
      for (const row of await subjectList(await readSettings(), { due: options.due === true }))
        print(options.json === true ? `${JSON.stringify(row)}\n` : `${requestCells(row).join('  ')}\n`);
    });
  aboutPerson(subject.command('export'))
    .description('all that is held on a person, as JSON and CSV with a description, into a folder')
    .requiredOption('--out <folder>', 'an empty folder, or one that is not there yet')
    .option('--unmasked', 'tell the numbers of callers and the content of rejected records too')
    .action(async (options: SubjectCommandOptions & { out: string; unmasked?: boolean }) => {
      const { exportSubject } = await import('../retention/subject-export.ts');
      const asked = { ...personAsked(options), out: options.out, unmasked: options.unmasked === true };
      printSubject(await exportSubject(await readSettings(), asked), options.json);
    });
  aboutPerson(subject.command('erase'))
    .description(
      'delete what the person called, and blank their numbers in calls of others; what bills or a legal hold still need is deferred',
    )
    .action(async (options: SubjectCommandOptions) => {
      const { erase } = await import('../retention/erase.ts');
      const settings = await readSettings();
      printSubject(await erase(settings, personAsked(options), () => keptTopics(settings)), options.json);
    });
  subject
    .command('verify')
    .description('look again for what an erasure took away; exit 1 where something is found')
    .requiredOption('--id <request>', 'the request')
    .requiredOption('--number <number...>', 'the numbers, as they were named: they are not kept')
    .option('--json', 'print the report as JSON')
    .action(async (options: { id: string; number: string[]; json?: boolean }) => {
      const { verifyErasure } = await import('../retention/erase.ts');
      const settings = await readSettings();
      const report = await verifyErasure(settings, options.id, options.number, () => keptTopics(settings));
      if (options.json === true) print(`${JSON.stringify(report)}\n`);
      else
        for (const [name, value] of Object.entries(report))
          print(`${name}  ${typeof value === 'string' ? value : JSON.stringify(value)}\n`);
      if (!report.verified)
        throw new CdrhouseError(
          'ERASURE_UNPROVEN',
          `request ${options.id} (${report.state}) is not verified`,
        );
    });
  aboutPerson(subject.command('rectify'))
    .description('correct one field of one call of a person; the old value is kept as evidence')
    .requiredOption('--call <id>', 'id of the call, from any answer of the API or an export')
    .requiredOption(
      '--field <name>',
      'what is wrong: calling_number, start, duration …; a wrong one lists them',
    )
    .requiredOption(
      '--value <text>',
      'as it must be: a number as calls hold it, seconds, ISO 8601 with a zone',
    )
    .action(async (options: SubjectCommandOptions & { call: string; field: string; value: string }) => {
      const { rectifyCall } = await import('../retention/subject-rectify.ts');
      const { call, field, value } = options;
      const asked = { ...personAsked(options), call, field, value };
      printSubject(await rectifyCall(await readSettings(), asked), options.json);
    });
  aboutPerson(subject.command('restrict'))
    .description('keep the calls of a person, and hide them from look-ups until it is lifted')
    .option('--keep-past-term', 'keep copies of them past their term too, until it is lifted')
    .action(async (options: SubjectCommandOptions & { keepPastTerm?: boolean }) => {
      const { restrict } = await import('../retention/subject-restrictions.ts');
      const asked = { ...personAsked(options), keepPastTerm: options.keepPastTerm === true };
      printSubject(await restrict(await readSettings(), asked), options.json);
    });
  for (const [kind, text] of [
    ['object', 'a person objects to purposes: the API refuses look-ups of their numbers for these'],
    ['withdraw', 'a person withdraws their consent to purposes; the same'],
  ] as const) {
    aboutPerson(subject.command(kind))
      .description(text)
      .requiredOption('--purpose <purpose...>', 'as look-ups name it: dispute, billing, support, legal')
      .action(async (options: SubjectCommandOptions & { purpose: string[] }) => {
        const { object } = await import('../retention/subject-restrictions.ts');
        const asked = { ...personAsked(options), kind, purposes: options.purpose };
        printSubject(await object(await readSettings(), asked), options.json);
      });
  }
  aboutPerson(subject.command('lift'))
    .description('end restrictions of these numbers whose time lies within --from and --to')
    .option('--purpose <purpose...>', 'end objections to these purposes instead')
    .action(async (options: SubjectCommandOptions & { purpose?: string[] }) => {
      const { lift } = await import('../retention/subject-restrictions.ts');
      const asked = { ...personAsked(options), purposes: options.purpose ?? [] };
      printSubject(await lift(await readSettings(), asked), options.json);
    });
}

interface SubjectCommandOptions {
  readonly number: string[];
  readonly feed?: string[];
  readonly from: number;
  readonly to?: number;
  readonly reason: string;
  readonly asked?: number;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** Adds the options that name a person and the request. */
function aboutPerson(command: Command): Command {
  return command
    .requiredOption('--number <number...>', 'numbers of the person, in any notation')
    .option('--feed <name...>', 'only as numbers of these feeds; needed for extensions')
    .requiredOption('--from <time>', 'since when they hold them, ISO 8601', moment)
    .option('--to <time>', 'until when they held them; default: to this day', moment)
    .requiredOption('--reason <text>', 'why; stands in the certificate')
    .option('--asked <time>', 'when the person asked, from which the deadline runs; default: now', moment)
    .option('--dry-run', 'only say what would be done')
    .option('--json', 'print the report as JSON');
}

/** What all requests have, for the functions of retention/. */
function personAsked({ number, feed, from, to, reason, asked, dryRun }: SubjectCommandOptions): PersonAsked {
  const person = { numbers: number, feeds: feed, fromMs: from, toMs: to };
  return { person, reason, askedMs: asked, dryRun: dryRun === true };
}

function printSubject(report: SubjectReport, json: boolean | undefined): void {
  if (json === true) {
    print(`${JSON.stringify(report)}\n`);
    return;
  }
  for (const [name, value] of Object.entries(report.result))
    print(`${name}  ${typeof value === 'string' ? value : JSON.stringify(value)}\n`);
  if (report.request_id === null) say('nothing was written');
  else say(`request ${report.request_id}: ${report.state}; its certificate: subject list --id`);
}

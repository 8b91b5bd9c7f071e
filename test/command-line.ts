import { Command } from 'commander';

/** Commands that do something themselves, other than those that are a name for several. */
const doing = new WeakSet<Command>();

/** The command line that cli.ts makes, to be asked what it takes; nothing of it is done. */
export async function commandLine(): Promise<Command> {
  let made: Command | undefined;
  const take = (program: Command): void => {
    made = program;
  };
  const { action, parseAsync } = Object.getOwnPropertyDescriptors(Command.prototype);
  const withAction = action.value as (this: Command, listener: () => void) => Command;
  Object.defineProperties(Command.prototype, {
    action: {
      ...action,
      value(this: Command) {
        doing.add(this);
        return withAction.call(this, () => undefined);
      },
    },
    parseAsync: {
      ...parseAsync,
      value(this: Command) {
        take(this);
        return Promise.resolve(this);
      },
    },
  });
  try {
    await import('../cli.ts');
  } finally {
    Object.defineProperties(Command.prototype, { action, parseAsync });
  }
  if (made === undefined) throw new Error('cli.ts parses no command line');
  for (const { command } of allCommands(made))
    command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  return made;
}

/** A command with its words, the first one being the program's own name. */
export interface NamedCommand {
  readonly words: readonly string[];
  readonly command: Command;
}

export function allCommands(command: Command, above: readonly string[] = []): NamedCommand[] {
  const words = [...above, command.name()];
  return [{ words, command }, ...command.commands.flatMap((each) => allCommands(each, words))];
}

/** Whether a command does something itself. */
export function isDone(command: Command): boolean {
  return doing.has(command);
}

/** What is wrong with a command line; undefined where it would be done. */
export async function faultOf(program: Command, words: readonly string[]): Promise<string | undefined> {
  try {
    await program.parseAsync(['node', 'cdrhouse', ...words]);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * What is wrong with words that name a command without all that it needs, as in a text: a subcommand or an option that is
 * not there.
 */
export function faultOfName(program: Command, words: readonly string[]): string | undefined {
  let command = program;
  const above = [program];
  let isValue = false;
  for (const word of words) {
    const inner = command.commands.find((each) => each.name() === word);
    if (word === '|') return undefined;
    if (inner !== undefined) {
      command = inner;
      above.push(inner);
    } else if (word.startsWith('--')) {
      const name = /^--[a-z-]+/.exec(word)?.[0];
      const option = above.flatMap(({ options }) => options).find(({ long }) => long === name);
      if (option === undefined) return `${command.name()} has no option ${word}`;
      isValue = option.required || option.optional;
    } else if (!isValue && command.registeredArguments.length === 0 && /^[a-z-]+$/.test(word)) {
      return `${command.name()} has no command ${word}`;
    }
  }
  return undefined;
}

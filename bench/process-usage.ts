import { readdirSync, readFileSync } from 'node:fs';

/** Ticks of the counters in /proc (`getconf CLK_TCK`), 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Counters of /proc/PID/stat, numbered as in proc(5), where the first behind the program's name is 3. */
const STAT = {
  group: 5,
  userTicks: 14,
  systemTicks: 15,
  childrenUserTicks: 16,
  childrenSystemTicks: 17,
} as const;

/** CPU seconds of all threads of a running process, user and system. */
export function cpuSeconds(pid: number): number {
  return statTicks(String(pid), STAT.userTicks, STAT.systemTicks) / TICKS_PER_SECOND;
}

/** CPU seconds of those threads of a running process whose names begin with this. */
export function threadsCpuSeconds(pid: number, name: string): number {
  let ticks = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      if (!readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8').startsWith(name)) continue;
      ticks += statTicks(`${pid}/task/${thread}`, STAT.userTicks, STAT.systemTicks);
    } catch {
      // The thread has ended between two looks.
    }
  }
  return ticks / TICKS_PER_SECOND;
}

/** CPU seconds of the children of this process that have ended, their own children included. */
export function endedChildrenCpuSeconds(): number {
  return statTicks('self', STAT.childrenUserTicks, STAT.childrenSystemTicks) / TICKS_PER_SECOND;
}

/** CPU seconds of a running process, of its children and theirs, those that have ended too. */
export function treeCpuSeconds(pid: number): number {
  const { userTicks, systemTicks, childrenUserTicks, childrenSystemTicks } = STAT;
  let seconds = 0;
  try {
    seconds =
      statTicks(String(pid), userTicks, systemTicks, childrenUserTicks, childrenSystemTicks) /
      TICKS_PER_SECOND;
  } catch {
    // It has ended between two looks.
  }
  return childrenOf(pid).reduce((sum, child) => sum + treeCpuSeconds(child), seconds);
}

/** CPU seconds of the whole machine since its start; of a virtual one also those that its host gave to others. */
export function machineCpuSeconds(): number {
  const [user, nice, system, , , interrupts, softInterrupts, stolen] = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)[0]!
    .split(/\s+/)
    .slice(1)
    .map(Number);
  const ticks = [user, nice, system, interrupts, softInterrupts, stolen].reduce<number>(
    (sum, of) => sum + (of ?? 0),
    0,
  );
  return ticks / TICKS_PER_SECOND;
}

/** Largest resident memory that a running process has had, in bytes; undefined where it has ended. */
export function peakMemoryBytes(pid: number): number | undefined {
  try {
    const kilobytes = /^VmHWM:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    // The process has ended between two looks.
    return undefined;
  }
}

/** CPU seconds of the running processes of a group, and of their children that have ended. */
export function groupCpuSeconds(group: number): number {
  const { userTicks, systemTicks, childrenUserTicks, childrenSystemTicks } = STAT;
  const ticks = membersOf(group).map((pid) =>
    statTicks(pid, userTicks, systemTicks, childrenUserTicks, childrenSystemTicks),
  );
  return ticks.reduce((sum, of) => sum + of, 0) / TICKS_PER_SECOND;
}

/** Sum of the largest resident memories that a running process and its children have had, in bytes; 0 where it has ended. */
export function treePeakBytes(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, one) => sum + (peakMemoryBytes(one) ?? 0), 0);
}

/** Of the first thread, which starts all children of a Node program. */
function childrenOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ');
    return children.filter((child) => child !== '').map(Number);
  } catch {
    // It has ended between two looks.
    return [];
  }
}

/** The same of the running processes of a group. Looks through all processes: not for every moment. */
export function groupPeakBytes(group: number): number {
  return membersOf(group).reduce((sum, pid) => sum + (peakMemoryBytes(Number(pid)) ?? 0), 0);
}

function membersOf(group: number): string[] {
  return readdirSync('/proc').filter((name) => {
    if (!/^[0-9]+$/.test(name)) return false;
    try {
      return statTicks(name, STAT.group) === group;
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });
}

/** Sum of these numbers of /proc/PID/stat. Throws where the process has ended. */
function statTicks(pid: string, ...fields: number[]): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The program's name stands in brackets and may hold blanks and brackets itself.
  const values = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields.reduce((sum, field) => sum + Number(values[field - 3]), 0);
}

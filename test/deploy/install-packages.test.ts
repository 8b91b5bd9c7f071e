import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import tap from 'tap';

const SCRIPT = fileURLToPath(new URL('../../../deploy/install-packages.sh', import.meta.url));

await tap.test('a copy of kept packages that was broken off does not pass for complete', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'cdrhouse-packages-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const clone = join(folder, 'clone');
  const tools = join(folder, 'tools');
  for (const each of [join(clone, 'deploy'), tools]) mkdirSync(each, { recursive: true });
  copyFileSync(SCRIPT, join(clone, 'deploy', 'install-packages.sh'));
  const hash = createHash('sha256');
  for (const name of ['package-lock.json', '.npmrc', '.taprc']) {
    writeFileSync(join(clone, name), name);
    hash.update(name);
  }
  const key = hash.update(`${process.version}${process.platform}${process.arch}\n`).digest('hex');
  const kept = join(folder, 'cache', 'cdrhouse', `node_modules-${key}`);
  mkdirSync(join(kept, 'one'), { recursive: true });
  writeFileSync(join(kept, '.package-lock.sha256'), key);
  writeFileSync(join(kept, 'one', 'index.js'), '');

  const install = (path: string): number | null =>
    spawnSync('sh', [join(clone, 'deploy', 'install-packages.sh')], {
      env: { PATH: path, XDG_CACHE_HOME: join(folder, 'cache') },
    }).status;
  const path = process.env['PATH']!;
  // The stamp comes first, and then it is ended.
  const brokenOff =
    '#!/bin/sh\nmkdir "$4" && cat "$3/.package-lock.sha256" >"$4/.package-lock.sha256"\nexit 1\n';
  writeFileSync(join(tools, 'cp'), brokenOff, { mode: 0o755 });
  t.not(install(`${tools}:${path}`), 0);
  t.equal(install(path), 0);
  t.ok(existsSync(join(clone, 'node_modules', 'one', 'index.js')), 'it is copied again, whole');
  t.notOk(existsSync(join(clone, 'node_modules.partial')));
});

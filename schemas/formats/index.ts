import { asteriskCsv } from './asterisk-csv.ts';
import { asteriskCustom } from './asterisk-custom.ts';
import { avayaSmdr } from './avaya-smdr.ts';
import { broadworks } from './broadworks.ts';
import { canonicalCsv } from './canonical-csv.ts';
import { canonicalJson } from './canonical-json.ts';
import { ciscoCucm } from './cisco-cucm.ts';
import { delimited } from './delimited.ts';
import type { Format } from './format.ts';
import { freeswitchCsv } from './freeswitch-csv.ts';
import { freeswitchJson } from './freeswitch-json.ts';
import { oracleAcme } from './oracle-acme.ts';
import { ribbonAct } from './ribbon-act.ts';
import { kamailioAcc, opensipsAcc } from './sip-proxy-acc.ts';
import { threeCx, threeCxJson } from './three-cx.ts';
import { yeastarJson } from './yeastar-json.ts';

/** Every format that a feed may name: the one place that lists them. */
export const FORMATS: readonly Format[] = [
  canonicalCsv,
  canonicalJson,
  asteriskCsv,
  asteriskCustom,
  freeswitchCsv,
  freeswitchJson,
  ciscoCucm,
  oracleAcme,
  broadworks,
  threeCx,
  threeCxJson,
  avayaSmdr,
  ribbonAct,
  yeastarJson,
  opensipsAcc,
  kamailioAcc,
  delimited,
];

/** The format of this name, or undefined. */
export function findFormat(name: string): Format | undefined {
  return FORMATS.find((format) => format.name === name);
}

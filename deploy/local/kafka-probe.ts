import { connect } from 'node:net';
import { loopback } from './ports.ts';

const answerTimeoutMs = 2000;
const answerBytesMax = 64 * 1024;

/** Metadata request, version 1, without topics: length, api 3, version, correlation id, no client id, no topics. */
function metadataRequest(): Buffer {
  const request = Buffer.alloc(18);
  request.writeInt32BE(14, 0);
  request.writeInt16BE(3, 4);
  request.writeInt16BE(1, 6);
  request.writeInt32BE(1, 8);
  request.writeInt16BE(-1, 12);
  request.writeInt32BE(0, 14);
  return request;
}

/** The number of brokers in the answer: after its length and the correlation id. */
function brokerCount(answer: Buffer): number {
  return answer.readInt32BE(8);
}

/**
 * Whether a broker on this port serves clients. An open port is not enough: it is there a second before the broker is
 * admitted to its own cluster, and only then does the metadata name it.
 */
export async function answersMetadata(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = Buffer.alloc(0);
    const socket = connect({ host: loopback, port, timeout: answerTimeoutMs });
    const finish = (serves: boolean): void => {
      socket.destroy();
      resolve(serves);
    };
    socket.once('connect', () => socket.write(metadataRequest()));
    socket.on('data', (chunk) => {
      answer = Buffer.concat([answer, chunk]);
      if (answer.length > answerBytesMax) finish(false);
      else if (answer.length >= 12) finish(brokerCount(answer) > 0);
    });
    socket.once('timeout', () => finish(false));
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
  });
}

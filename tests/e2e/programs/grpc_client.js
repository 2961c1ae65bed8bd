// Calls a gRPC target as often as each line of its standard input says, and prints for each line who answered and what failed.

'use strict';

const readline = require('readline');
const grpc = require('@grpc/grpc-js');

require('@grpc/grpc-js-xds').register();

const TIMEOUT_MS = 20_000;
const [target, method] = process.argv.slice(2);
const client = new grpc.Client(target, grpc.credentials.createInsecure());
const bytes = (value) => value;

function call() {
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + TIMEOUT_MS };
    client.makeUnaryRequest(method, bytes, bytes, Buffer.alloc(0), new grpc.Metadata(), options, (error, answer) =>
      resolve(error ? ['failed', `${grpc.status[error.code]}: ${error.details}`] : ['answered', answer.toString()]),
    );
  });
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const report = { answered: {}, failed: {} };
    for (let left = Number(line); left > 0; left -= 1) {
      const [kind, what] = await call();
      report[kind][what] = (report[kind][what] ?? 0) + 1;
    }
    process.stdout.write(`${JSON.stringify(report)}\n`);
  }
  process.exit(0);
}

main();

'use strict';
// The command line of the test client on the official Node library.

const { setMaxListeners } = require('node:events');
const { parseArgs } = require('node:util');

const text = { type: 'string' };
const COMMON = {
  endpoints: text,
  topic: text,
  group: text,
  name: text,
  tls: { type: 'boolean', default: false },
  'start-timeout': { type: 'string', default: '30' },
};
const RECEIVING = {
  invisible: { type: 'string', default: '30' },
  batch: { type: 'string', default: '32' },
  wait: { type: 'string', default: '5' },
  filter: { type: 'string', default: '*' },
};
const HISTORY = { history: text, progress: { type: 'string', default: '1' }, count: { type: 'string', default: '0' } };
const COMMANDS = {
  produce: {
    ...HISTORY,
    rate: text,
    'in-flight': { type: 'string', default: '16' },
    size: { type: 'string', default: '256' },
  },
  consume: {
    ...HISTORY,
    ...RECEIVING,
    kind: { type: 'string', default: 'simple' },
    'until-idle': text,
    duration: text,
    'in-flight': { type: 'string', default: '8' },
  },
  smoke: RECEIVING,
  scenario: { 'access-endpoints': text, 'access-key': text, 'secret-key': text },
};
const NUMBERS = [
  'count', 'rate', 'in-flight', 'size', 'until-idle', 'duration', 'invisible', 'batch', 'wait', 'progress',
  'start-timeout',
];

function parse(words) {
  // Which word is the command shows only with every option known; the second look has just those of the command.
  const every = { ...COMMON, ...COMMANDS.produce, ...COMMANDS.consume, ...COMMANDS.scenario };
  const { positionals } = parseArgs({ args: words, options: every, allowPositionals: true });
  const [command, ...names] = positionals;
  if (!Object.hasOwn(COMMANDS, command)) {
    throw new TypeError(`there is to be one command of ${Object.keys(COMMANDS).join(', ')}`);
  }
  if ((command === 'scenario') !== names.length > 0) {
    throw new TypeError('scenario takes names, other commands none');
  }
  const options = { ...COMMON, ...COMMANDS[command] };
  const { values } = parseArgs({ args: words, options, allowPositionals: true });
  const required = ['endpoints', 'topic'];
  if (command === 'produce' || command === 'consume') required.push('history');
  if (command === 'consume') required.push('group');
  for (const name of required) {
    if (!values[name]) throw new TypeError(`--${name} is missing`);
  }
  for (const name of NUMBERS) {
    if (values[name] === undefined) continue;
    const number = Number(values[name]);
    if (!Number.isFinite(number) || number < 0) throw new TypeError(`--${name} ${values[name]} is no number`);
    values[name.replace(/-(.)/g, (_, letter) => letter.toUpperCase())] = number;
  }
  for (const name of ['access-endpoints', 'access-key', 'secret-key']) {
    values[name.replace(/-(.)/g, (_, letter) => letter.toUpperCase())] = values[name];
  }
  return { ...values, command, names };
}

async function main() {
  let parsed;
  try {
    parsed = parse(process.argv.slice(2));
  } catch (error) {
    console.error(`clients/run node: ${error.message}`);
    process.exit(2);
  }
  const stop = new AbortController();
  // Every session waits for it.
  setMaxListeners(0, stop.signal);
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => stop.abort());
  }
  try {
    const run = require(`./${parsed.command}`)[parsed.command];
    if (parsed.command === 'scenario') {
      process.exit((await run(parsed)) ? 0 : 1);
    }
    const client = await run(parsed, stop.signal);
    // Saying goodbye must not outlive an unreachable broker.
    const limit = new Promise(resolve => setTimeout(resolve, 3000));
    await Promise.race([client.shutdown().catch(() => {}), limit]);
    process.exit(0);
  } catch (error) {
    console.error(`node: ${parsed.command} failed: ${error.message}`);
    process.exit(1);
  }
}

main();
